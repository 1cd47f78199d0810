import { useId, useState, type KeyboardEvent, type ReactNode } from "react"

interface Props<T extends string> {
  label: string
  tabs: [T, string][]
  chosen: T | null
  onChoose: (tab: T) => void
  after?: ReactNode
}

/** A row of tabs; arrow keys go from one to the next. */
export function Tabs<T extends string>({ label, tabs, chosen, onChoose, after }: Props<T>) {
  const id = useId()
  const move = (event: KeyboardEvent<HTMLDivElement>) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (step === undefined) return
    const at = tabs.findIndex(([key]) => key === chosen)
    const next = tabs[(at + step + tabs.length) % tabs.length]
    if (!next) return
    event.preventDefault()
    onChoose(next[0])
    document.getElementById(`${id}-${next[0]}`)?.focus()
  }
  return (
    <div className="tab-row">
      <div className="tabs" role="tablist" aria-label={label} onKeyDown={move}>
        {tabs.map(([key, words], index) => (
          <button
            key={key}
            id={`${id}-${key}`}
            type="button"
            role="tab"
            aria-selected={key === chosen}
            tabIndex={key === chosen || (chosen === null && index === 0) ? 0 : -1}
            onClick={() => onChoose(key)}
          >
            <bdi className="cut">{words}</bdi>
          </button>
        ))}
      </div>
      {after}
    </div>
  )
}

/** One of some names that come and go: the one that was chosen, else the first. */
export function useChosen(names: string[]): [string | undefined, (name: string) => void] {
  const [chosen, setChosen] = useState<string | null>(null)
  return [chosen !== null && names.includes(chosen) ? chosen : names[0], setChosen]
}
