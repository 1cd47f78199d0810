/** What a person does, by the bar, the canvas, the palette or a key. */

import * as api from "./api"
import { placeBeside } from "./layout"
import { layOutForRoutes } from "./routes"
import { change, edit, editWithPlaces, inTurn, movePlaces, sayFault, sendName } from "./server"
import { canEdit, getState, say, select, setDirection, show, type Direction } from "./state"
import { stepSize } from "./size"
import { inputId, nameOf, outputId, sortOf, stepId, whyNot, type Connection } from "./ports"
import { plural } from "./words"
import type { Edit, Graph, PaletteEntry } from "./types"

const editable = (): boolean => canEdit(getState())

/** Names of steps, as far as they can be read in passing. */
const stepsInWords = (names: string[]): string => (names.length > 3 ? plural(names.length, "step") : names.join(", "))

/** Adds a component: where it was dropped (its upper middle), or to the right of what is selected. */
export async function add(entry: PaletteEntry, dropped?: { x: number; y: number }): Promise<void> {
  if (!editable()) return
  const place = (graph: Graph): [number, number] => {
    const { positions, selected, direction } = getState()
    const size = stepSize(entry, direction)
    if (dropped) return [Math.round(dropped.x - size.width / 2), Math.round(dropped.y - 20)]
    return placeBeside(graph, positions, selected.at(-1), size, direction)
  }
  if (await editWithPlaces([{ do: "add", component: entry.id }], (graph) => [place(graph)])) {
    const [added] = getState().selected
    if (added) say(`${entry.title} added as ${nameOf(added)}`)
  }
}

/** Connects two ports; what the target read before is replaced, in one step of undo. */
export async function connect(wanted: Connection): Promise<void> {
  const { graph } = getState()
  if (!graph || !editable()) return
  const reason = whyNot(graph, wanted)
  if (reason) return say(`Not connected: ${reason}.`, true)
  const step = nameOf(wanted.source)
  if (sortOf(wanted.target) === "output") {
    const from = { step, port: wanted.sourcePort }
    await edit([{ do: "connect_output", name: nameOf(wanted.target), from }])
    return
  }
  const from = sortOf(wanted.source) === "input" ? { input: step } : { step, port: wanted.sourcePort }
  await edit([{ do: "connect", step: nameOf(wanted.target), port: wanted.targetPort, from }])
}

export async function removeSelected(): Promise<void> {
  const { graph, selected, selectedEdges } = getState()
  if (!graph || !editable() || selected.length + selectedEdges.length === 0) return
  const steps = selected.filter((id) => sortOf(id) === "step").map(nameOf)
  const gone = new Set(selected)
  const edits: Edit[] = []
  for (const edge of graph.edges) {
    if (!selectedEdges.includes(edge.id) || gone.has(edge.source) || gone.has(edge.target)) continue
    if (sortOf(edge.target) === "output") edits.push({ do: "remove_output", name: nameOf(edge.target) })
    else edits.push({ do: "disconnect", step: nameOf(edge.target), port: edge.target_port })
  }
  for (const id of selected) {
    if (sortOf(id) === "input") edits.push({ do: "remove_input", name: nameOf(id) })
    if (sortOf(id) === "output") edits.push({ do: "remove_output", name: nameOf(id) })
  }
  if (steps.length) edits.push({ do: "remove", steps })
  if (await edit(edits)) say(["Removed", ...(steps.length ? [stepsInWords(steps)] : [])].join(": "))
}

let copied: string[] = []

export function copySelected(): void {
  copied = getState()
    .selected.filter((id) => sortOf(id) === "step")
    .map(nameOf)
  if (copied.length) say(`${stepsInWords(copied)} copied`)
}

const SHIFT = 48

async function duplicate(names: string[]): Promise<void> {
  const { graph, positions } = getState()
  if (!graph || !editable()) return
  const steps = graph.steps.map((step) => step.name).filter((name) => names.includes(name))
  if (steps.length === 0) return say("There is nothing to paste: the steps copied are gone.", true)
  const places = steps.map((name): [number, number] => {
    const [x, y] = positions[stepId(name)] ?? [0, 0]
    return [x + SHIFT, y + SHIFT]
  })
  if (await editWithPlaces([{ do: "duplicate", steps }], () => places))
    say(`${stepsInWords(steps)} duplicated`)
}

export const paste = (): Promise<void> | undefined => (copied.length ? duplicate(copied) : undefined)

export function duplicateSelected(): Promise<void> | undefined {
  const names = getState()
    .selected.filter((id) => sortOf(id) === "step")
    .map(nameOf)
  return names.length ? duplicate(names) : undefined
}

export function selectAll(): void {
  const { graph } = getState()
  if (!graph) return
  const inputs = graph.inputs.filter((input) => input.is_data).map((input) => inputId(input.name))
  select([...inputs, ...graph.steps.map((step) => stepId(step.name)), ...graph.outputs.map((output) => outputId(output.name))])
}

/** Gives a step another name; answers why not, or null. */
export async function rename(step: string, to: string): Promise<string | null> {
  if (to === "") return "A step needs a name."
  const refusal = await sendName(stepId(step), stepId(to), { do: "rename", step, to })
  if (refusal === null) say(`${step} is now ${to}`)
  return refusal
}

/** Gives an input of the pipeline another name; answers why not, or null. */
export async function renameInput(name: string, to: string): Promise<string | null> {
  if (to === "") return "An input needs a name."
  return sendName(inputId(name), inputId(to), { do: "rename_input", name, to })
}

export function layOutAgain(direction: Direction = getState().direction): void {
  const { graph } = getState()
  if (!graph) return
  if (direction !== getState().direction) setDirection(direction)
  movePlaces(layOutForRoutes(graph, direction))
}

export const undo = () => (getState().graph?.can_undo && editable() ? change(api.undo) : undefined)
export const redo = () => (getState().graph?.can_redo && editable() ? change(api.redo) : undefined)

export async function save(overwrite = false): Promise<void> {
  const { graph } = getState()
  if (!graph || !editable()) return
  if (graph.changed_on_disk && !overwrite) return show("disk")
  if (await change(() => api.save(overwrite))) say(`${graph.path} saved`)
}

export async function reload(): Promise<void> {
  if (await change(api.reload)) say("Read anew from the disk; undo brings your changes back.")
}

// How the run goes is told by the stream alone: an answer might come after it, and be older.

export const startRun = (): Promise<unknown> => inTurn(api.run).catch(sayFault)

export const stopRun = (): Promise<unknown> => api.stop().then(() => say("Stopping: what runs ends in order."), sayFault)

export const isRunning = (phase: string | undefined): boolean => phase === "starting" || phase === "running"
