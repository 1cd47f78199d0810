import { useRef, useState, type KeyboardEvent } from "react"
import { add } from "./actions"
import { COMPONENT } from "./Canvas"
import { useCanEdit, useStore } from "./state"
import type { PaletteEntry } from "./types"

const fits = (entry: PaletteEntry, words: string[]): boolean => {
  const text = `${entry.title} ${entry.name} ${entry.category} ${entry.description}`.toLowerCase()
  return words.every((word) => text.includes(word))
}

/** Entries by category, in the order in which the categories first come. */
function byCategory(entries: PaletteEntry[]): [string, PaletteEntry[]][] {
  const groups = new Map<string, PaletteEntry[]>()
  for (const entry of entries) groups.set(entry.category, [...(groups.get(entry.category) ?? []), entry])
  return [...groups]
}

/** The entry that a key moves to: arrows by one, Home and End to the ends. */
function move(event: KeyboardEvent<HTMLElement>): void {
  const list = [...event.currentTarget.querySelectorAll<HTMLElement>(".entry")]
  const at = list.indexOf(document.activeElement as HTMLElement)
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: list.length - 1 }[event.key]
  if (to === undefined) return
  event.preventDefault()
  list[Math.max(0, Math.min(list.length - 1, to))]?.focus()
}

/** All components, searched, dragged onto the canvas, or added by double click or Enter. */
export function Palette() {
  const entries = useStore((state) => state.palette)
  const [query, setQuery] = useState("")
  const found = entries.filter((entry) => fits(entry, query.toLowerCase().split(/\s+/).filter(Boolean)))
  const list = useRef<HTMLDivElement>(null)
  return (
    <nav className="palette" aria-label="Components">
      <input
        type="search"
        className="search"
        placeholder="Search components"
        aria-label="Search components"
        value={query}
        onChange={(event) => setQuery(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") {
            event.preventDefault()
            list.current?.querySelector<HTMLElement>(".entry")?.focus()
          }
          if (event.key === "Enter" && found[0]) void add(found[0])
        }}
      />
      <div className="entries" ref={list} onKeyDown={move}>
        {byCategory(found).map(([category, group]) => (
          <section key={category} aria-label={category}>
            <h2>
              <bdi>{category}</bdi>
            </h2>
            {group.map((entry) => (
              <Entry key={entry.id} entry={entry} first={entry === found[0]} />
            ))}
          </section>
        ))}
        {found.length === 0 && (
          <p className="quiet padded">{entries.length ? "No component has these words." : "Reading the components…"}</p>
        )}
      </div>
    </nav>
  )
}

function Entry({ entry, first }: { entry: PaletteEntry; first: boolean }) {
  const editable = useCanEdit()
  return (
    <button
      type="button"
      className="entry"
      draggable={editable}
      tabIndex={first ? 0 : -1}
      aria-disabled={!editable}
      title={`${entry.description}\n\nDrag it onto the canvas, or press Enter.`}
      onDragStart={(event) => {
        event.dataTransfer.setData(COMPONENT, entry.id)
        event.dataTransfer.effectAllowed = "copy"
      }}
      onDoubleClick={() => void add(entry)}
      onClick={(event) => {
        if (event.detail === 0) void add(entry) // by a key or a screen reader, not by the pointer
      }}
    >
      <bdi className="cut">{entry.title}</bdi>
      <bdi className="quiet cut">{entry.description}</bdi>
    </button>
  )
}
