import { useState, type FormEvent } from "react"
import { renameInput } from "./actions"
import { TextField } from "./fields"
import { edit, identityOf, tryEdit } from "./server"
import { select, useCanEdit, useStore } from "./state"
import { inputId, readersOf, stepId } from "./ports"
import type { Edit, Graph, PipelineInput, Problem } from "./types"
import { plural } from "./words"

/** The pipeline's name, its inputs and outputs, and all that is wrong with it. */
export function PipelinePane({ graph }: { graph: Graph }) {
  return (
    <div className="pane-body" key={graph.path}>
      <header>
        <h2>Pipeline</h2>
      </header>
      <Problems graph={graph} />
      <Remarks />
      <TextField label="Name" value={graph.name} send={(text) => tryEdit([{ do: "describe", text }])} />
      <h3>Inputs</h3>
      {graph.inputs.map((input) => (
        <InputFields key={identityOf(inputId(input.name))} graph={graph} input={input} />
      ))}
      <NewInput />
      <h3>Outputs</h3>
      {graph.outputs.length === 0 && <p className="help">None yet: make a step’s output one in its pane.</p>}
      {graph.outputs.map((output) => (
        <div className="row" key={output.name}>
          <span className="cut">
            <bdi title={output.name}>{output.name}</bdi>{" "}
            <span className="quiet">{output.from ? `${output.from.port} of ${output.from.step}` : "of no step"}</span>
          </span>
          <Remove what={`output ${output.name}`} edit={{ do: "remove_output", name: output.name }} />
        </div>
      ))}
    </div>
  )
}

function Problems({ graph }: { graph: Graph }) {
  const { problems, checking } = graph
  return (
    <section aria-label="Problems" className="problems">
      <p className={problems.length ? "fault-text" : "quiet"}>
        {problems.length ? plural(problems.length, "problem") : "No problems"}
        {checking && <span className="quiet"> · still checking…</span>}
      </p>
      <ul>
        {problems.map((problem, index) => (
          <li key={index}>
            <ProblemLine problem={problem} />
          </li>
        ))}
      </ul>
    </section>
  )
}

const NO_REMARKS: string[] = []

/** What the last run said of the pipeline as a whole. */
function Remarks() {
  const remarks = useStore((state) => state.run?.remarks ?? NO_REMARKS)
  return remarks.map((remark, index) => (
    <p key={index} className="remark" dir="auto">
      {remark}
    </p>
  ))
}

function ProblemLine({ problem }: { problem: Problem }) {
  const text = <bdi>{problem.text}</bdi>
  if (problem.step === "") return <span className="problem">{text}</span>
  return (
    <button type="button" className="problem" onClick={() => select([stepId(problem.step)])}>
      <bdi className="problem-step">{problem.step}</bdi> {text}
    </button>
  )
}

function Remove({ what, edit: removal }: { what: string; edit: Edit }) {
  const editable = useCanEdit()
  return (
    <button
      type="button"
      className="small"
      aria-label={`Remove ${what}`}
      disabled={!editable}
      onClick={() => void edit([removal])}
    >
      remove
    </button>
  )
}

/** An input of the pipeline: its name, its value, who reads it. */
export function InputFields({ graph, input }: { graph: Graph; input: PipelineInput }) {
  const faults = graph.problems
    .filter((problem) => problem.step === "" && problem.port === input.name)
    .map((problem) => problem.text)
  const users = readersOf(graph, input).join(", ")
  return (
    <fieldset className="input">
      <legend className="only-heard">{`input ${input.name}`}</legend>
      <div>
        <TextField label="name" heard={`name of input ${input.name}`} value={input.name} live={false} send={(to) => renameInput(input.name, to)} />
        <TextField
          label="value"
          heard={`value of input ${input.name}`}
          value={input.value ?? ""}
          placeholder={input.is_data ? "folder" : "value"}
          faults={faults}
          send={(text) => tryEdit([{ do: "set_input", name: input.name, text: text === "" ? null : text }])}
        />
        <Remove what={`input ${input.name}`} edit={{ do: "remove_input", name: input.name }} />
      </div>
      <p className="help" dir="auto">{`${input.type}, ${users ? `read by ${users}` : "nothing reads it"}`}</p>
    </fieldset>
  )
}

const TYPES = ["uri_folder", "uri_file", "mlflow_model", "integer", "number", "boolean", "string"]

function NewInput() {
  const editable = useCanEdit()
  const [name, setName] = useState("")
  const [type, setType] = useState(TYPES[0] ?? "")
  const [reason, setReason] = useState<string | null>(null)
  const addIt = async (event: FormEvent) => {
    event.preventDefault()
    const why = name === "" ? "An input needs a name." : await tryEdit([{ do: "add_input", name, type, text: null }])
    setReason(why)
    if (why === null) setName("")
  }
  return (
    <form className="new-input" onSubmit={(event) => void addIt(event)}>
      <input
        type="text"
        aria-label="name of a new input"
        placeholder="new input"
        value={name}
        readOnly={!editable}
        onChange={(event) => setName(event.target.value)}
      />
      <select
        aria-label="type of the new input"
        value={type}
        disabled={!editable}
        onChange={(event) => setType(event.target.value)}
      >
        {TYPES.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
      <button type="submit" disabled={!editable}>
        Add
      </button>
      {reason && (
        <p className="fault-text" role="alert">
          {reason}
        </p>
      )}
    </form>
  )
}
