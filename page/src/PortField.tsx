import { useId, useState } from "react"
import { Choice, Field, Line, TextField } from "./fields"
import { faultOf, isText, keyOf, rangeOf, reachableFrom, stepId, wordsOf } from "./ports"
import { edit, tryEdit } from "./server"
import { useCanEdit } from "./state"
import type { Edit, Graph, Port, PortOf, Step, Value } from "./types"

interface Props {
  graph: Graph
  step: Step
  port: Port
  faults: string[]
}

const setEdit = (step: Step, port: Port, text: string): Edit => ({
  do: "set",
  step: step.name,
  port: port.name,
  text: text === "" ? null : text,
})

/** One input of a step: what it reads, or its value, and what is wrong with it. */
export const PortField = (props: Props) => (props.port.is_data ? <DataField {...props} /> : <ParameterField {...props} />)

function ParameterField(props: Props) {
  const id = useId()
  const { graph, step, port } = props
  const searched = port.value !== null && "searched" in port.value
  return (
    <Field id={id} label={<PortLabel port={port} />} beside={!searched && <Binding graph={graph} step={step} port={port} />}>
      <Parameter id={id} {...props} />
    </Field>
  )
}

function Parameter({ id, graph, step, port, faults }: Props & { id: string }) {
  const { value } = port
  if (value !== null && !isText(value)) return <Bound id={id} port={port} value={value} graph={graph} faults={faults} />
  const text = value?.text ?? ""
  const choices = port.type === "boolean" ? ["true", "false"] : port.choices
  if (choices?.length) {
    const shown = text === "" || choices.includes(text) ? choices : [text, ...choices]
    return (
      <Choice id={id} value={text} faults={faults} help={port.description} onPick={(to) => void edit([setEdit(step, port, to)])}>
        <option value="">{port.default === null ? "not set" : `default: ${port.default}`}</option>
        {shown.map((choice) => (
          <option key={choice}>{choice}</option>
        ))}
      </Choice>
    )
  }
  return (
    <Line
      id={id}
      value={text}
      placeholder={port.default ?? (port.optional ? "not set" : "")}
      numeric={port.type === "integer" || port.type === "number"}
      check={(typed) => faultOf(port, typed)}
      faults={faults}
      range={rangeOf(port)}
      help={port.description}
      send={(typed) => tryEdit([setEdit(step, port, typed)])}
    />
  )
}

const PortLabel = ({ port }: { port: Port }) => (
  <>
    <bdi>{port.name}</bdi>
    {!port.optional && port.default === null && (
      <span className="needed" title="needed">
        {" *"}
      </span>
    )}
  </>
)

interface BoundProps {
  id: string
  port: Port
  value: Value
  graph: Graph
  faults: string[]
}

/** A parameter that comes from an input of the pipeline: shown, and changed there. */
function Bound({ id, port, value, graph, faults }: BoundProps) {
  const input = "input" in value ? graph.inputs.find((one) => one.name === value.input) : undefined
  if (!input) {
    const searched = "searched" in value
    return (
      <Line
        id={id}
        value={wordsOf(value)}
        faults={faults}
        help={port.description}
        {...(searched ? { range: "tried by the sweep" } : {})}
        send={async () => (searched ? "The sweep tries these values: change search_space in the YAML." : "It comes from another step.")}
      />
    )
  }
  const elsewhere = input.used_by.length - 1
  return (
    <Line
      id={id}
      value={input.value ?? ""}
      numeric={port.type === "integer" || port.type === "number"}
      check={(typed) => faultOf(port, typed)}
      faults={faults}
      range={[rangeOf(port), elsewhere > 0 ? `set for ${elsewhere} more` : ""].filter(Boolean).join(" · ")}
      help={port.description}
      send={(typed) => tryEdit([{ do: "set_input", name: input.name, text: typed === "" ? null : typed }])}
    />
  )
}

/** Where a parameter's value comes from: typed here, or an input of the pipeline. */
function Binding({ graph, step, port }: { graph: Graph; step: Step; port: Port }) {
  const editable = useCanEdit()
  const { value } = port
  const bound = value !== null && "input" in value ? value.input : ""
  const inputs = graph.inputs.filter((input) => !input.is_data)
  const free = graph.inputs.some((input) => input.name === port.name) ? `${step.name}_${port.name}` : port.name
  const pick = (to: string) => {
    if (to === "value") return edit([setEdit(step, port, graph.inputs.find((input) => input.name === bound)?.value ?? "")])
    const connect = (input: string): Edit => ({ do: "connect", step: step.name, port: port.name, from: { input } })
    if (to !== "new") return edit([connect(to.slice("input:".length))])
    const text = isText(value) ? value.text : port.default
    return edit([{ do: "add_input", name: free, type: port.type, text }, connect(free)])
  }
  return (
    <select
      className={bound ? "binding bound" : "binding"}
      aria-label={`where ${port.name} comes from`}
      disabled={!editable}
      value={bound ? `input:${bound}` : "value"}
      onChange={(event) => void pick(event.target.value)}
    >
      <option value="value">set here</option>
      {inputs.map((input) => (
        <option key={input.name} value={`input:${input.name}`}>{`from input ${input.name}`}</option>
      ))}
      {bound === "" && <option value="new">{`from a new input ${free}`}</option>}
    </select>
  )
}

/** Outputs of other steps that this port can read. */
function sourcesFor(graph: Graph, step: Step, port: Port): PortOf[] {
  const reachable = reachableFrom(graph, stepId(step.name), port.name, "target")
  return graph.steps.flatMap((other) =>
    other.outputs
      .filter((out) => reachable.has(`${stepId(other.name)} ${out.name}`))
      .map((out) => ({ step: other.name, port: out.name })),
  )
}

const PATH = "text"
const PATH_HELP = "A folder: a path beside the pipeline, or azureml://…"

/** What a data port reads: the output of a step, an input of the pipeline, or a path. */
function DataField({ graph, step, port, faults }: Props) {
  const id = useId()
  const [typing, setTyping] = useState(false)
  const { value } = port
  const sources = sourcesFor(graph, step, port)
  const inputs = graph.inputs.filter((input) => input.is_data)
  const key = typing ? PATH : keyOf(value)
  const keys = new Set(["", PATH, ...inputs.map((input) => keyOf({ input: input.name })), ...sources.map(keyOf)])
  const pick = (to: string) => {
    setTyping(to === PATH)
    if (to === PATH) return
    if (to === "") return void edit([{ do: "disconnect", step: step.name, port: port.name }])
    const input = inputs.find((one) => keyOf({ input: one.name }) === to)
    const from = input ? { input: input.name } : sources.find((one) => keyOf(one) === to)
    if (from) void edit([{ do: "connect", step: step.name, port: port.name, from }])
  }
  return (
    <>
      <Field id={id} label={<PortLabel port={port} />}>
        <Choice id={id} value={key} faults={faults} help={port.description} onPick={pick}>
          <option value="">nothing</option>
          {!keys.has(key) && <option value={key}>{wordsOf(value)}</option>}
          {inputs.length > 0 && (
            <optgroup label="Inputs of the pipeline">
              {inputs.map((input) => (
                <option key={input.name} value={keyOf({ input: input.name })}>
                  {input.name}
                </option>
              ))}
            </optgroup>
          )}
          {sources.length > 0 && (
            <optgroup label="Outputs of steps">
              {sources.map((source) => (
                <option key={keyOf(source)} value={keyOf(source)}>
                  {wordsOf(source)}
                </option>
              ))}
            </optgroup>
          )}
          <option value={PATH}>a path…</option>
        </Choice>
      </Field>
      {key === PATH && (
        <TextField
          label={<span className="quiet">path of {port.name}</span>}
          value={isText(value) ? value.text : ""}
          placeholder="folder"
          help={PATH_HELP}
          send={async (typed) => {
            const reason = await tryEdit([setEdit(step, port, typed)])
            if (reason === null && typed !== "") setTyping(false)
            return reason
          }}
        />
      )}
    </>
  )
}
