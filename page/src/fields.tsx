import { useId, type ReactNode } from "react"
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
      <div aria-live="polite">
        {wrong.map((fault) => (
          <p key={fault} className="fault-text" dir="auto">
            {fault}
          </p>
        ))}
      </div>
      {range && <p className="range">{range}</p>}
      {help && (
        <p className="help" dir="auto">
          {help}
        </p>
      )}
    </div>
  )
}

interface FieldProps {
  id: string
  label: ReactNode
  beside?: ReactNode
}

/** A control with its label; what stands beside the label stays, and keeps its focus, when the control becomes another one. */
export const Field = ({ id, label, beside, children }: FieldProps & { children: ReactNode }) => (
  <div className="field">
    <div className="field-head">
      <label htmlFor={id}>{label}</label>
      {beside}
    </div>
    {children}
  </div>
)

interface LineProps {
  id: string
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
  send: (text: string) => Promise<string | null>
}

/** A line of text that the server keeps. */
export function Line({
  id,
  heard,
  value,
  placeholder,
  live = true,
  numeric = false,
  check,
  faults = [],
  range,
  help,
  send,
}: LineProps) {
  const editable = useCanEdit()
  const { text, refused, field } = useDraft(value, send, live)
  const own = text === "" || !check ? null : check(text)
  const typed = text !== value
  const wrong = [own, refused, ...(typed || own ? [] : faults)]
  const notes = `${id}-notes`
  return (
    <>
      <input
        {...field}
        id={id}
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
    </>
  )
}

interface TextFieldProps extends Omit<FieldProps & LineProps, "id"> {
  /** Where the text is kept; a text of another place begins anew. */
  place?: string
}

/** A labelled line of text. */
export function TextField({ label, beside, place, ...line }: TextFieldProps) {
  const id = useId()
  return (
    <Field id={id} label={label} beside={beside}>
      <Line key={place} id={id} {...line} />
    </Field>
  )
}

interface ChoiceProps {
  id: string
  value: string
  faults?: string[]
  help?: string
  onPick: (value: string) => void
  children: ReactNode
}

/** A choice. */
export function Choice({ id, value, faults = [], help, onPick, children }: ChoiceProps) {
  const editable = useCanEdit()
  return (
    <>
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
    </>
  )
}
