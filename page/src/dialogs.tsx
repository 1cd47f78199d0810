import { useEffect, useState } from "react"
import * as api from "./api"
import { reload, save, startRun } from "./actions"
import { Dialog } from "./Dialog"
import { change } from "./server"
import { setState, show, useStore } from "./state"
import type { Pipelines, Submitted } from "./types"

/** The dialog that is open, if one is. */
export function Dialogs() {
  const dialog = useStore((state) => state.dialog)
  switch (dialog) {
    case "open":
      return <OpenDialog />
    case "run":
      return <RunDialog />
    case "submit":
      return <SubmitDialog />
    case "disk":
      return <DiskDialog />
    case "keys":
      return <KeysDialog />
    case null:
      return null
  }
}

function OpenDialog() {
  const [found, setFound] = useState<Pipelines | null>(null)
  const [reason, setReason] = useState<string | null>(null)
  const saved = useStore((state) => state.graph?.saved ?? true)
  useEffect(() => {
    api.pipelines().then(setFound, (error: unknown) => setReason(api.messageOf(error)))
  }, [])
  const openIt = async (path: string) => {
    show(null)
    if (path === found?.current) return
    if (await change(() => api.open(path, !saved))) setState({ look: null })
  }
  return (
    <Dialog title="Open a pipeline">
      {!saved && <p className="warning-text">The pipeline that is open is not saved. Opening another one drops its changes.</p>}
      {reason && <p className="fault-text">{reason}</p>}
      {!found && !reason && <p className="quiet">Looking…</p>}
      <ul className="files">
        {found?.files.map((file) => (
          <li key={file}>
            <button type="button" className="file" aria-current={file === found.current} onClick={() => void openIt(file)}>
              <bdi>{file}</bdi>
              {file === found.current && <span className="quiet"> is open</span>}
            </button>
          </li>
        ))}
      </ul>
    </Dialog>
  )
}

function Copied({ text }: { text: string }) {
  const [copied, setCopied] = useState(false)
  const copy = async () => {
    await navigator.clipboard.writeText(text)
    setCopied(true)
  }
  return (
    <div className="copied">
      <pre className="command" tabIndex={0} aria-label="command">
        {text}
      </pre>
      <button type="button" onClick={() => void copy()} aria-live="polite">
        {copied ? "Copied" : "Copy"}
      </button>
    </div>
  )
}

function RunDialog() {
  const command = useStore((state) => state.run?.command ?? "")
  const problems = useStore((state) => state.graph?.problems.length ?? 0)
  const begin = async () => {
    show(null)
    await startRun()
  }
  return (
    <Dialog
      title="Run on this machine"
      buttons={
        <button type="button" className="main" onClick={() => void begin()}>
          Run
        </button>
      }
    >
      <p>The pipeline is saved, and this is run:</p>
      <Copied text={command} />
      {problems > 0 && <p className="warning-text">The pipeline has problems; it may not start.</p>}
      <p className="help">Steps that ran before with the same values are reused. Closing this page does not stop the run.</p>
    </Dialog>
  )
}

function SubmitDialog() {
  const [answer, setAnswer] = useState<Submitted | null>(null)
  const [reason, setReason] = useState<string | null>(null)
  const [asked, setAsked] = useState(false)
  const send = () => {
    setAsked(true)
    api.submit().then(setAnswer, (error: unknown) => setReason(api.messageOf(error)))
  }
  return (
    <Dialog
      title="Submit to Azure ML"
      buttons={
        !asked && (
          <button type="button" className="main" onClick={send}>
            Submit
          </button>
        )
      }
    >
      {!asked && <p>The pipeline is sent to the workspace of config.json, and runs there. It costs what its compute costs.</p>}
      {asked && !answer && !reason && <p role="status">Submitting; this may take half a minute…</p>}
      {reason && (
        <p className="fault-text" role="alert">
          {reason}
        </p>
      )}
      {answer && <Answer answer={answer} />}
    </Dialog>
  )
}

function Answer({ answer }: { answer: Submitted }) {
  if ("line" in answer) {
    return (
      <>
        <p dir="auto">{answer.why}</p>
        <p>This line submits it:</p>
        <Copied text={answer.line} />
      </>
    )
  }
  const link = answer.url.startsWith("https://") ? answer.url : undefined
  return (
    <p role="status">
      Submitted:{" "}
      <a href={link} target="_blank" rel="noreferrer noopener">
        {answer.url}
      </a>
    </p>
  )
}

function DiskDialog() {
  const path = useStore((state) => state.graph?.path ?? "")
  const then = (work: () => Promise<void>) => () => {
    show(null)
    void work()
  }
  return (
    <Dialog
      title="The file changed on disk"
      buttons={
        <>
          <button type="button" className="main" onClick={then(reload)}>
            Take what is on disk
          </button>
          <button type="button" onClick={then(() => save(true))}>
            Overwrite it
          </button>
        </>
      }
    >
      <p>
        <bdi>{path}</bdi> was changed by something else since it was opened here.
      </p>
    </Dialog>
  )
}

const KEYS: [string, string][] = [
  ["Tab", "to the next step, field or button"],
  ["Enter, Space", "selects the step that has the focus; adds the component that has it"],
  ["Arrow keys", "move the selected steps; with Shift further"],
  ["Shift and drag", "selects all steps in a box"],
  ["Shift and click", "selects one more step"],
  ["Delete, Backspace", "removes what is selected"],
  ["Ctrl+A", "selects everything"],
  ["Ctrl+C, Ctrl+V", "copies and pastes steps"],
  ["Ctrl+D", "duplicates the selected steps"],
  ["Ctrl+Z", "undoes"],
  ["Ctrl+Shift+Z, Ctrl+Y", "does again"],
  ["Ctrl+S", "saves"],
  ["Ctrl+Enter", "runs, or stops"],
  ["/", "goes to the search of the components"],
  ["F", "shows the whole pipeline"],
  ["L", "lays it out again"],
  ["O", "opens and closes what the selected step made"],
  ["Escape", "selects nothing"],
  ["?", "this list"],
]

function KeysDialog() {
  return (
    <Dialog title="Keys">
      <p className="help">To connect steps by keyboard, select the step that reads and choose its source in the pane.</p>
      <dl className="keys">
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  )
}
