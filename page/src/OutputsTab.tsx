import { useState } from "react"
import * as api from "./api"
import { useFetched } from "./fetched"
import { useStore } from "./state"
import { Tabs, useChosen } from "./Tabs"
import { Thumbnails } from "./Thumbnails"
import type { Output, Step } from "./types"
import { count } from "./words"

/** What each output of the step holds. */
export function OutputsTab({ step }: { step: Step }) {
  const ports = step.outputs.map((out) => out.name)
  const [port, setPort] = useChosen(ports)
  if (port === undefined) return <p className="quiet padded">This step has no outputs.</p>
  return (
    <div className="outputs">
      {ports.length > 1 && (
        <Tabs label="Outputs" tabs={ports.map((one): [string, string] => [one, one])} chosen={port} onChoose={setPort} />
      )}
      <OutputView key={port} step={step.name} port={port} />
    </div>
  )
}

function OutputView({ step, port }: { step: string; port: string }) {
  const phase = useStore((state) => state.run?.steps[step]?.phase ?? "none")
  const { value, fault } = useFetched(`${step} ${port} ${phase}`, (signal) => api.output(step, port, signal))
  if (fault) return <p className="fault-text padded">{fault}</p>
  if (!value) return <p className="quiet padded">Looking…</p>
  if (!value.exists) return <p className="quiet padded">{WHY_NOTHING[phase] ?? "Nothing yet: run the pipeline."}</p>
  return (
    <div className="output">
      <div className="output-words">
        <h3 dir="auto">{value.title}</h3>
        <ul className="lines">
          {value.lines.map((line, index) => (
            <li key={index} dir="auto">
              {line}
            </li>
          ))}
        </ul>
      </div>
      {value.images && <Images step={step} port={port} images={value.images} />}
    </div>
  )
}

const WHY_NOTHING: Record<string, string> = {
  waiting: "Nothing yet: the step waits for its turn.",
  running: "Nothing yet: the step is running.",
  failed: "The step failed before this was written; its log says why.",
  stopped: "The step was stopped before this was written.",
}

/** More classes than this are reached by the select only. */
const CLASSES_SHOWN = 1000

function Images({ step, port, images }: { step: string; port: string; images: NonNullable<Output["images"]> }) {
  const [label, setLabel] = useState("")
  const total = images.labels.find((one) => one.label === label)?.count ?? images.total
  return (
    <div className="images">
      <label className="class-choice">
        <span className="quiet">class</span>
        <select value={label} onChange={(event) => setLabel(event.target.value)}>
          <option value="">{`all: ${count(images.total)} images`}</option>
          {images.labels.slice(0, CLASSES_SHOWN).map((one) => (
            <option key={one.label} value={one.label}>{`${one.label.slice(0, 80)}: ${count(one.count)}`}</option>
          ))}
        </select>
        {images.labels.length > CLASSES_SHOWN && (
          <span className="quiet">{`the first ${count(CLASSES_SHOWN)} of ${count(images.labels.length)} classes`}</span>
        )}
      </label>
      <Thumbnails key={label} step={step} port={port} label={label} total={total} />
    </div>
  )
}
