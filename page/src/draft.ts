import { useEffect, useRef, useState, type ChangeEvent, type KeyboardEvent } from "react"
import { say } from "./state"

/** How long a field waits after the last letter before it sends what is typed. */
const PAUSE = 300

interface Draft {
  text: string
  /** Why the server refused what was typed. */
  refused: string | null
  field: {
    value: string
    onChange: (event: ChangeEvent<HTMLInputElement>) => void
    onBlur: () => void
    onKeyDown: (event: KeyboardEvent<HTMLInputElement>) => void
  }
}

/**
 * A text that is typed here and kept by the server: sent after a pause, by Enter, or when the field is left; Escape takes it back.
 *
 * @param send answers why the text was refused, or null.
 * @param live whether a pause sends it; names are sent only when they are whole.
 */
export function useDraft(value: string, send: (text: string) => Promise<string | null>, live = true): Draft {
  const [draft, setDraft] = useState<string | null>(null)
  const [refused, setRefused] = useState<string | null>(null)
  const unsent = useRef<string | null>(null)
  const sent = useRef<string | null>(null) // and not answered yet
  const isGone = useRef(false)
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined)
  const sender = useRef(send)
  useEffect(() => {
    sender.current = send
  })

  const flush = async (): Promise<boolean> => {
    clearTimeout(timer.current)
    const text = unsent.current
    unsent.current = null
    if (text === null) return refused === null
    sent.current = text
    const reason = await sender.current(text)
    if (sent.current === text) sent.current = null
    setRefused(reason)
    if (reason !== null && isGone.current) say(reason, true)
    return reason === null
  }
  const latestFlush = useRef(flush)
  useEffect(() => {
    latestFlush.current = flush
  })
  useEffect(
    () => () => {
      isGone.current = true
      void latestFlush.current() // the pane shows another step before the field was left
    },
    [],
  )

  const leave = async () => {
    if ((await flush()) && unsent.current === null) setDraft(null)
  }
  return {
    text: draft ?? value,
    refused,
    field: {
      value: draft ?? value,
      onChange: ({ target }) => {
        setDraft(target.value)
        setRefused(null)
        unsent.current = target.value === (sent.current ?? value) ? null : target.value
        clearTimeout(timer.current)
        if (live) timer.current = setTimeout(() => void flush(), PAUSE)
      },
      onBlur: () => void leave(),
      onKeyDown: (event) => {
        if (event.key === "Enter") void flush()
        if (event.key === "Escape" && draft !== null) {
          event.stopPropagation()
          clearTimeout(timer.current)
          unsent.current = null
          setDraft(null)
          setRefused(null)
        }
      },
    },
  }
}
