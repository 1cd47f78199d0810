import { useEffect, useRef, useState } from "react"
import { reload, save } from "./actions"
import { NOT_ALLOWED } from "./api"
import { stepId } from "./ports"
import { select, unsay, useStore } from "./state"
import { plural } from "./words"

/** What the page has to say: lost connections and changes on disk as bands, the rest as notes below. */
export function Bands() {
  const link = useStore((state) => state.link)
  const changed = useStore((state) => state.graph?.changed_on_disk ?? false)
  const path = useStore((state) => state.graph?.path ?? "")
  return (
    <div className="bands">
      {link === "refused" && (
        <p className="band fault" role="alert">
          {NOT_ALLOWED}
        </p>
      )}
      {link === "lost" && (
        <p className="band warning" role="alert">
          The connection to the designer is lost; this page reconnects by itself. Until then nothing can be changed.
        </p>
      )}
      {changed && link === "open" && (
        <div className="band warning" role="alert">
          <span>
            <bdi>{path}</bdi> changed on disk.
          </span>
          <button type="button" className="small" onClick={() => void reload()}>
            Take what is on disk
          </button>
          <button type="button" className="small" onClick={() => void save(true)}>
            Overwrite it
          </button>
        </div>
      )}
      <RunError />
    </div>
  )
}

/** Where an error of the run's own checks says it is: "…Error: train.untrained_model: …" */
const PLACE = /: (\w+)\.\w+: /

/** Why the last run failed, until it is closed or there is another run. */
function RunError() {
  const error = useStore((state) => (state.run?.phase === "failed" ? state.run.error : null))
  const named = PLACE.exec(error ?? "")?.[1]
  const step = useStore((state) => state.graph?.steps.find((one) => one.name === named)?.name)
  const [closed, setClosed] = useState(false)
  useEffect(() => setClosed(false), [error])
  if (!error || closed) return null
  return (
    <div className="band fault">
      <span dir="auto">{error}</span>
      {step && (
        <button type="button" className="small" onClick={() => select([stepId(step)])}>
          show
        </button>
      )}
      <button type="button" className="small" onClick={() => setClosed(true)}>
        close
      </button>
    </div>
  )
}

export function Notices() {
  const notices = useStore((state) => state.notices)
  return (
    <div className="notices" aria-live="polite">
      {notices.map((notice) => (
        <div key={notice.id} className={notice.fault ? "notice fault" : "notice"}>
          <span dir="auto">{notice.text}</span>
          {notice.fault && (
            <button type="button" className="small" onClick={() => unsay(notice.id)}>
              close
            </button>
          )}
        </div>
      ))}
    </div>
  )
}

/** For a screen reader: when the run changes, a step ends, or problems come and go. */
export function Heard() {
  const words = useStore((state) => {
    const run = state.run
    if (!run || run.phase === "none") return ""
    const ended = Object.entries(run.steps).flatMap(([name, step]) =>
      step.phase === "running" || step.phase === "failed" ? [`${name} ${step.phase}`] : [],
    )
    return [`run ${run.phase}`, ...ended, run.result ?? "", run.error ?? ""].filter(Boolean).join(", ")
  })
  const problems = useStore((state) => state.graph?.problems.length ?? 0)
  const [said, setSaid] = useState("")
  const before = useRef(problems)
  useEffect(() => {
    if (before.current !== problems) setSaid(problems ? plural(problems, "problem") : "no problems")
    before.current = problems
  }, [problems])
  return (
    <>
      <div className="only-heard" role="status">
        {words}
      </div>
      <div className="only-heard" role="status">
        {said}
      </div>
    </>
  )
}

/** The name and meaning of the port under the pointer. */
export function Tooltip() {
  const tip = useStore((state) => state.tip)
  if (!tip) return null
  const left = Math.max(8, Math.min(tip.x - 20, window.innerWidth - 316))
  const below = tip.y + 160 < window.innerHeight
  return (
    <div
      className="tip"
      role="tooltip"
      style={below ? { left, top: tip.y + 8 } : { left, bottom: window.innerHeight - tip.y + 24 }}
    >
      <strong dir="auto">{tip.title}</strong>
      {tip.lines.map((line, index) => (
        <p key={index} dir="auto">
          {line}
        </p>
      ))}
    </div>
  )
}
