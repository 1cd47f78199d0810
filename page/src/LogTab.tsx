import { useEffect, useLayoutEffect, useRef, useState } from "react"
import * as api from "./api"
import { useFetched } from "./fetched"
import { useStore } from "./state"
import { Tabs, useChosen } from "./Tabs"

const KEPT = 2_000_000 // letters
const FIRST = -200_000 // bytes before the end to begin with
const EVERY = 2000 // ms
/** More logs than this are in a list. */
const MOST_TABS = 8

/** The logs of a step's processes, followed while they grow. */
export function LogTab({ step }: { step: string }) {
  const phase = useStore((state) => state.run?.steps[step]?.phase ?? "none")
  const error = useStore((state) => (state.run?.steps[step]?.phase === "failed" ? state.run.error : null))
  const every = phase === "running" ? EVERY : undefined // processes and trials begin one after another
  const { value, fault } = useFetched(`${step} ${phase}`, (signal) => api.logs(step, signal), every)
  const names = value?.names ?? []
  const [name, setName] = useChosen(names)
  return (
    <div className="log-tab">
      {error && (
        <p className="fault-box" dir="auto">
          {error}
        </p>
      )}
      {fault && <p className="fault-text padded">{fault}</p>}
      {names.length > MOST_TABS && (
        <select className="which-log" aria-label="log" value={name} onChange={({ target }) => setName(target.value)}>
          {names.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      )}
      {names.length > 1 && names.length <= MOST_TABS && name !== undefined && (
        <Tabs label="Processes" tabs={names.map((one): [string, string] => [one, one])} chosen={name} onChoose={setName} />
      )}
      {value && names.length === 0 && <p className="quiet padded">No log yet.</p>}
      {name !== undefined && <Log key={name} step={step} name={name} />}
    </div>
  )
}

/** Text that stays at its end unless it was scrolled up. */
function Log({ step, name }: { step: string; name: string }) {
  const { text, fault } = useLog(step, name)
  const box = useRef<HTMLPreElement>(null)
  const atEnd = useRef(true)
  useLayoutEffect(() => {
    if (box.current && atEnd.current) box.current.scrollTop = box.current.scrollHeight
  }, [text])
  return (
    <>
      {fault && <p className="fault-text padded">{fault}</p>}
      <pre
        ref={box}
        className="log"
        tabIndex={0}
        aria-label={`log ${name}`}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < 24
        }}
      >
        {text}
      </pre>
    </>
  )
}

function useLog(step: string, name: string) {
  const [text, setText] = useState("")
  const [fault, setFault] = useState<string | null>(null)
  useEffect(() => {
    const stopped = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let from = FIRST
    const read = async () => {
      try {
        const part = await api.log(step, name, from, stopped.signal)
        const isAnew = part.next < from // another run has begun it
        const more = from >= 0 && part.next > from
        setText((now) => (isAnew ? "" : clipped(now + part.text)))
        from = isAnew ? FIRST : part.next
        setFault(null)
        timer = setTimeout(() => void read(), isAnew || (more && part.text.length > 100_000) ? 0 : EVERY)
      } catch (error) {
        if (stopped.signal.aborted) return
        setFault(api.messageOf(error))
        timer = setTimeout(() => void read(), 3 * EVERY)
      }
    }
    void read()
    return () => {
      stopped.abort()
      clearTimeout(timer)
    }
  }, [step, name])
  return { text, fault }
}

/** The end of a text that has become too long, from a whole line on. */
function clipped(text: string): string {
  if (text.length <= KEPT) return text
  const end = text.slice(-KEPT)
  return end.slice(end.indexOf("\n") + 1)
}
