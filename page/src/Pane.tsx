import { duplicateSelected, removeSelected } from "./actions"
import { InputFields, PipelinePane } from "./PipelinePane"
import { inputId, nameOf, sortOf } from "./ports"
import { identityOf } from "./server"
import { selectedStep, setState, useCanEdit, useStore } from "./state"
import { StepPane } from "./StepPane"
import type { Graph } from "./types"

/** The right side: the selected step, or the pipeline where none is selected. */
export function Pane({ graph }: { graph: Graph }) {
  const selected = useStore((state) => state.selected)
  const step = useStore(selectedStep)
  return (
    <aside className={selected.length ? "pane chosen" : "pane"} aria-label={step ? `Step ${step.name}` : "Pipeline"}>
      <button type="button" className="small pane-close" onClick={() => setState({ selected: [] })}>
        close
      </button>
      {step ? (
        <StepPane graph={graph} step={step} />
      ) : selected.length ? (
        <Several graph={graph} selected={selected} />
      ) : (
        <PipelinePane graph={graph} />
      )}
    </aside>
  )
}

function Several({ graph, selected }: { graph: Graph; selected: string[] }) {
  const editable = useCanEdit()
  const [only] = selected
  const one = selected.length === 1 && only ? only : undefined
  const input = one && sortOf(one) === "input" ? graph.inputs.find((input) => input.name === nameOf(one)) : undefined
  const output = one && sortOf(one) === "output" ? graph.outputs.find((output) => output.name === nameOf(one)) : undefined
  return (
    <div className="pane-body">
      <header>
        <h2>{input ? "Input of the pipeline" : output ? "Output of the pipeline" : `${selected.length} selected`}</h2>
      </header>
      {input && <InputFields key={identityOf(inputId(input.name))} graph={graph} input={input} />}
      {output && (
        <p dir="auto">
          <bdi>{output.name}</bdi>{" "}
          <span className="quiet">{output.from ? `is ${output.from.port} of ${output.from.step}` : "is given by no step"}</span>
        </p>
      )}
      <div className="buttons">
        {selected.some((id) => sortOf(id) === "step") && (
          <button type="button" disabled={!editable} onClick={() => void duplicateSelected()}>
            Duplicate
          </button>
        )}
        <button type="button" disabled={!editable} onClick={() => void removeSelected()}>
          Remove
        </button>
      </div>
    </div>
  )
}
