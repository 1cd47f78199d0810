import { useReactFlow } from "@xyflow/react"
import { useEffect } from "react"
import {
  copySelected,
  duplicateSelected,
  isRunning,
  layOutAgain,
  paste,
  redo,
  removeSelected,
  save,
  selectAll,
  stopRun,
  undo,
} from "./actions"
import { canEdit, getState, selectedStep, setState, show } from "./state"

/** Fields keep their own keys: letters, Ctrl+Z, Ctrl+C, Delete; a choice has nothing of its own behind Ctrl. */
const isOfField = (key: string, target: EventTarget | null): boolean =>
  target instanceof HTMLInputElement || (target instanceof HTMLSelectElement && !key.startsWith("ctrl+"))

const withText = (): boolean => (window.getSelection()?.toString() ?? "") !== ""

function toggleLook(): void {
  if (selectedStep(getState())) setState({ look: getState().look === null ? "outputs" : null })
}

/** Saves what is being typed too: a field sends it when it is left. */
function saveAll(): void {
  const field = document.activeElement
  if (field instanceof HTMLInputElement) {
    field.blur()
    void save()
    field.focus()
  } else void save()
}

/** Keys that hold everywhere, in fields too. */
const everywhere: Record<string, () => unknown> = {
  "ctrl+s": saveAll,
  "ctrl+enter": () => (isRunning(getState().run?.phase) ? stopRun() : canEdit(getState()) && show("run")),
}

const outside: Record<string, () => unknown> = {
  "ctrl+z": undo,
  "ctrl+shift+z": redo,
  "ctrl+y": redo,
  "ctrl+a": selectAll,
  "ctrl+c": copySelected,
  "ctrl+v": paste,
  "ctrl+d": duplicateSelected,
  delete: removeSelected,
  backspace: removeSelected,
  escape: () => setState({ selected: [], selectedEdges: [] }),
  l: () => canEdit(getState()) && layOutAgain(),
  o: toggleLook,
  "/": () => document.querySelector<HTMLInputElement>(".search")?.focus(),
  "?": () => show("keys"),
}

function nameOf(event: KeyboardEvent): string {
  const key = event.key.toLowerCase()
  const shift = event.shiftKey && key !== "?" && key !== "/" ? "shift+" : ""
  return `${event.ctrlKey || event.metaKey ? "ctrl+" : ""}${shift}${key}`
}

/** The keys of the whole page. */
export function useKeys(): void {
  const flow = useReactFlow()
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (getState().dialog !== null || event.altKey || event.defaultPrevented) return
      const name = nameOf(event)
      if (name === "ctrl+c" && withText()) return
      const action =
        everywhere[name] ??
        (isOfField(name, event.target) ? undefined : name === "f" ? () => flow.fitView({ maxZoom: 1, padding: 0.08 }) : outside[name])
      if (!action) return
      event.preventDefault()
      action()
    }
    window.addEventListener("keydown", pressed)
    return () => window.removeEventListener("keydown", pressed)
  }, [flow])
}
