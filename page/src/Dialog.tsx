import { useLayoutEffect, useRef, type ReactNode } from "react"
import { show } from "./state"

interface Props {
  title: string
  children: ReactNode
  buttons?: ReactNode
  onClose?: () => void
}

/** A dialog of the browser's own: it keeps the focus, closes on Escape, and gives the focus back. */
export function Dialog({ title, children, buttons, onClose = () => show(null) }: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  // while it is still on the page: only then does the browser give the focus back
  useLayoutEffect(() => {
    const element = dialog.current
    element?.showModal()
    element?.querySelector<HTMLElement>("button.main, .files button")?.focus()
    return () => element?.close()
  }, [])
  return (
    <dialog ref={dialog} aria-label={title} onCancel={onClose} onClose={onClose}>
      <h2>{title}</h2>
      <div className="dialog-body">{children}</div>
      <div className="buttons">
        {buttons}
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
    </dialog>
  )
}
