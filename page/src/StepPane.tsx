import { rename } from "./actions"
import { TextField } from "./fields"
import { PortField } from "./PortField"
import { inputOfSetting, settingFromInput, stepId } from "./ports"
import { edit, identityOf, tryEdit } from "./server"
import { useCanEdit, useStore } from "./state"
import type { Edit, Graph, OutPort, Problem, Setting, Step } from "./types"

const textsFor = (problems: Problem[], port: string): string[] =>
  problems.filter((problem) => problem.port === port).map((problem) => problem.text)

/** Everything of one step that can be set. */
export function StepPane({ graph, step }: { graph: Graph; step: Step }) {
  const problems = graph.problems.filter((problem) => problem.step === step.name)
  const known = new Set(step.inputs.map((port) => port.name))
  const others = problems.filter((problem) => !known.has(problem.port))
  const error = useStore((state) => (state.run?.steps[step.name]?.phase === "failed" ? state.run.error : null))
  const warnings = useStore((state) => state.run?.steps[step.name]?.warnings ?? NO_WARNINGS)
  const data = step.inputs.filter((port) => port.is_data)
  const parameters = step.inputs.filter((port) => !port.is_data)
  return (
    <div className="pane-body" key={identityOf(stepId(step.name))}>
      <header>
        <h2>
          <bdi title={step.title}>{step.title || step.name}</bdi>
        </h2>
        <p className="help" dir="auto">
          {step.description}
        </p>
        {error && (
          <p className="fault-box" dir="auto">
            {error}
          </p>
        )}
        {others.map((problem, index) => (
          <p key={index} className="fault-text" dir="auto">
            {problem.port ? `${problem.port}: ` : ""}
            {problem.text}
          </p>
        ))}
      </header>
      {warnings.map((warning, index) => (
        <p key={index} className="remark" dir="auto">
          {warning}
        </p>
      ))}
      <Name step={step} />
      {data.length > 0 && <h3>Data</h3>}
      {data.map((port) => (
        <PortField key={port.name} graph={graph} step={step} port={port} faults={textsFor(problems, port.name)} />
      ))}
      {parameters.length > 0 && <h3>Parameters</h3>}
      {parameters.map((port) => (
        <PortField key={port.name} graph={graph} step={step} port={port} faults={textsFor(problems, port.name)} />
      ))}
      {step.settings.length > 0 && <h3>Settings</h3>}
      {step.settings.map((setting) => (
        <SettingField key={setting.path} graph={graph} step={step} setting={setting} />
      ))}
      {step.outputs.length > 0 && <h3>Outputs</h3>}
      {step.outputs.map((port) => (
        <Given key={port.name} step={step} port={port} graph={graph} />
      ))}
    </div>
  )
}

const NO_WARNINGS: string[] = []

/** A setting: a text, or an input of the pipeline. */
function SettingField({ graph, step, setting }: { graph: Graph; step: Step; setting: Setting }) {
  const editable = useCanEdit()
  const bound = inputOfSetting(setting.value)
  const input = graph.inputs.find((one) => one.name === bound)
  const inputs = graph.inputs.filter((one) => !one.is_data)
  const edits = (text: string | null): Edit[] => [
    { do: "setting", step: step.name, path: setting.path, text: text === "" ? null : text },
  ]
  const beside = inputs.length > 0 && (
    <select
      className={bound ? "binding bound" : "binding"}
      aria-label={`where ${setting.label} comes from`}
      disabled={!editable}
      value={bound ?? ""}
      onChange={({ target }) => void edit(edits(target.value === "" ? (input?.value ?? null) : settingFromInput(target.value)))}
    >
      <option value="">set here</option>
      {inputs.map((one) => (
        <option key={one.name} value={one.name}>{`from input ${one.name}`}</option>
      ))}
    </select>
  )
  return (
    <TextField
      place={bound ?? "here"}
      label={<bdi>{setting.label}</bdi>}
      value={(input ? input.value : setting.value) ?? ""}
      beside={beside}
      send={(text) => tryEdit(input ? [{ do: "set_input", name: input.name, text: text === "" ? null : text }] : edits(text))}
    />
  )
}

const Name = ({ step }: { step: Step }) => (
  <TextField label="Name" value={step.name} live={false} send={(to) => rename(step.name, to)} />
)

/** The pipeline's output that an output of the step is given to; no name: it stays within the pipeline. */
function Given({ step, port, graph }: { step: Step; port: OutPort; graph: Graph }) {
  const send = async (name: string) => {
    const edits: Edit[] = []
    const taken = graph.outputs.some((output) => output.name === name)
    if (name === port.output) return null
    if (port.output !== null) edits.push({ do: "remove_output", name: port.output })
    if (name !== "")
      edits.push({ do: taken ? "connect_output" : "add_output", name, from: { step: step.name, port: port.name } })
    return tryEdit(edits)
  }
  return (
    <>
      <TextField
        label={<bdi>{port.name}</bdi>}
        heard={`output of the pipeline that ${port.name} is given to`}
        value={port.output ?? ""}
        placeholder="not an output of the pipeline"
        live={false}
        help={port.description}
        beside={
          port.output === null ? (
            <button
              type="button"
              className="small"
              onClick={() =>
                void edit([{ do: "add_output", name: freeOutput(graph, step, port), from: { step: step.name, port: port.name } }])
              }
            >
              make it one
            </button>
          ) : undefined
        }
        send={send}
      />
    </>
  )
}

function freeOutput(graph: Graph, step: Step, port: OutPort): string {
  const taken = new Set(graph.outputs.map((output) => output.name))
  return taken.has(port.name) ? `${step.name}_${port.name}` : port.name
}
