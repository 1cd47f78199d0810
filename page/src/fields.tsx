import type { ReactNode } from "react"
import { useDraft } from "./draft"
import { useCanEdit } from "./state"

/** What stands below a field: what is wrong with it first, then its range and what it means. */
function Notes({
  id,
  faults,
  range,
  help,
}: {
  id: string
  faults: (string | null | undefined)[]
  range?: string
  help?: string
}) {
  const wrong = [...new Set(faults.filter((fault): fault is string => Boolean(fault)))]
  return (
    <div id={id} className="notes">
      {wrong.map((fault) => (
        <p key={fault} className="fault-text" dir="auto">
          {fault}
        </p>
      ))}
      {range && <p className="range">{range}</p>}
      {help && (
        <p className="help" dir="auto">
          {help}
        </p>
      )}
    </div>
  )
}

interface TextFieldProps {
  label: ReactNode
  /** For a screen reader, where the label alone is not enough. */
  heard?: string
  value: string
  placeholder?: string
  live?: boolean
  numeric?: boolean
  /** What is wrong with a text, before the server says it. */
  check?: (text: string) => string | null
  faults?: string[]
  range?: string
  help?: string
  beside?: ReactNode
  send: (text: string) => Promise<string | null>
}

/** A labelled line of text that the server keeps. */
export function TextField({
  label,
  heard,
  value,
  placeholder,
  live = true,
  numeric = false,
  check,
  faults = [],
  range,
  help,
  beside,
  send,
}: TextFieldProps) {
  const editable = useCanEdit()
  const { text, refused, field } = useDraft(value, send, live)
  const own = text === "" || !check ? null : check(text)
  const typed = text !== value
  const wrong = [own, refused, ...(typed || own ? [] : faults)]
  const notes = `${field.id}-notes`
  return (
    <div className="field">
      <div className="field-head">
        <label htmlFor={field.id}>{label}</label>
        {beside}
      </div>
      <input
        {...field}
        type="text"
        dir="auto"
        aria-label={heard}
        inputMode={numeric ? "decimal" : "text"}
        autoComplete="off"
        spellCheck={false}
        placeholder={placeholder ?? ""}
        readOnly={!editable}
        aria-invalid={wrong.some(Boolean)}
        aria-describedby={notes}
      />
      <Notes id={notes} faults={wrong} {...(range ? { range } : {})} {...(help ? { help } : {})} />
    </div>
  )
}

interface SelectFieldProps {
  id: string
  label: ReactNode
  value: string
  faults?: string[]
  help?: string
  beside?: ReactNode
  onPick: (value: string) => void
  children: ReactNode
}

/** A labelled choice. */
export function SelectField({ id, label, value, faults = [], help, beside, onPick, children }: SelectFieldProps) {
  const editable = useCanEdit()
  return (
    <div className="field">
      <div className="field-head">
        <label htmlFor={id}>{label}</label>
        {beside}
      </div>
      <select
        id={id}
        value={value}
        disabled={!editable}
        aria-invalid={faults.length > 0}
        aria-describedby={`${id}-notes`}
        onChange={(event) => onPick(event.target.value)}
      >
        {children}
      </select>
      <Notes id={`${id}-notes`} faults={faults} {...(help ? { help } : {})} />
    </div>
  )
}
