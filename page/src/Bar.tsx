import { isRunning, layOutAgain, redo, save, stopRun, undo } from "./actions"
import { setState, show, useCanEdit, useStore } from "./state"
import type { Graph, Run } from "./types"

/** The top: the file and what can be done with it, the run and how it went. */
export function Bar({ graph }: { graph: Graph | null }) {
  const editable = useCanEdit()
  const direction = useStore((state) => state.direction)
  const run = useStore((state) => state.run)
  return (
    <header className="top">
      <h1>
        <bdi className="cut" title={graph?.path}>
          {graph?.path ?? "Designer"}
        </bdi>
        {graph && <span className={graph.saved ? "quiet" : "unsaved"}>{graph.saved ? "saved" : "not saved"}</span>}
      </h1>
      <div className="tools" role="toolbar" aria-label="Pipeline">
        <button type="button" onClick={() => show("open")}>
          Open
        </button>
        <button type="button" disabled={!editable || graph?.saved} onClick={() => void save()}>
          Save
        </button>
        <button type="button" disabled={!editable || !graph?.can_undo} onClick={() => void undo()}>
          Undo
        </button>
        <button type="button" disabled={!editable || !graph?.can_redo} onClick={() => void redo()}>
          Redo
        </button>
        <span className="gap" />
        <button type="button" disabled={!editable} onClick={() => layOutAgain()} title="Lay the steps out again">
          Lay out
        </button>
        <button
          type="button"
          disabled={!editable}
          title={direction === "down" ? "Lay out from left to right" : "Lay out from top to bottom"}
          aria-label={direction === "down" ? "Lay out from left to right" : "Lay out from top to bottom"}
          onClick={() => layOutAgain(direction === "down" ? "right" : "down")}
        >
          {direction === "down" ? "→" : "↓"}
        </button>
        <button type="button" className="wide-only" onClick={() => show("keys")} aria-label="Keys" title="Keys (?)">
          ?
        </button>
      </div>
      {run && <Running run={run} editable={editable} />}
    </header>
  )
}

const WORDS: Record<Run["phase"], string> = {
  none: "",
  starting: "starting",
  running: "running",
  finished: "finished",
  failed: "failed",
  stopped: "stopped",
}

function Running({ run, editable }: { run: Run; editable: boolean }) {
  const steps = Object.entries(run.steps)
  const done = steps.filter(([, step]) => step.phase === "finished" || step.phase === "reused").length
  const part = run.phase === "running" && steps.length ? `, ${done} of ${steps.length} steps` : ""
  const failed = steps.find(([, step]) => step.phase === "failed")?.[0]
  return (
    <div className="run">
      <span className={`run-state run-${run.phase}`}>
        {WORDS[run.phase]}
        {part}
        {run.result && <bdi className="result">{run.result}</bdi>}
      </span>
      {run.phase === "failed" && failed && (
        <button type="button" className="small" onClick={() => setState({ selected: [`step:${failed}`], look: "log" })}>
          why
        </button>
      )}
      {isRunning(run.phase) ? (
        <button type="button" className="main stop" onClick={() => void stopRun()}>
          Stop
        </button>
      ) : (
        <button type="button" className="main" disabled={!editable} onClick={() => show("run")}>
          Run
        </button>
      )}
      <button type="button" disabled={!editable} onClick={() => show("submit")}>
        Submit
      </button>
    </div>
  )
}
