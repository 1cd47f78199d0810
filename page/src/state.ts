/** What the page knows: one object that is replaced, never changed, and a hook that reads a part of it. */

import { useSyncExternalStore } from "react"
import type { Graph, NodeId, PaletteEntry, Positions, Run } from "./types"

/** connecting: not heard yet; lost: reconnects by itself; refused: the cookie is missing. */
export type Link = "connecting" | "open" | "lost" | "refused"
export type Direction = "down" | "right"
export type Dialog = "open" | "run" | "submit" | "keys" | "disk" | null
export type LookTab = "outputs" | "log" | "curves" | "trials" | "report" | "command"

export interface Notice {
  id: number
  text: string
  fault: boolean
}

export interface Tip {
  /** Where it points at, in the window's pixels. */
  x: number
  y: number
  title: string
  lines: string[]
}

export interface State {
  graph: Graph | null
  run: Run | null
  palette: PaletteEntry[]
  link: Link
  /** Where the nodes stand here: the server's places, those dragged since, those laid out. */
  positions: Positions
  direction: Direction
  selected: NodeId[]
  selectedEdges: string[]
  /** Ports that the edge being dragged may end at, as "node port"; null while none is dragged. */
  reachable: ReadonlySet<string> | null
  dialog: Dialog
  look: LookTab | null
  lookLarge: boolean
  notices: Notice[]
  tip: Tip | null
}

const DIRECTION_KEY = "designer direction"

let state: State = {
  graph: null,
  run: null,
  palette: [],
  link: "connecting",
  positions: {},
  direction: localStorage.getItem(DIRECTION_KEY) === "right" ? "right" : "down",
  selected: [],
  selectedEdges: [],
  reachable: null,
  dialog: null,
  look: null,
  lookLarge: false,
  notices: [],
  tip: null,
}

const listeners = new Set<() => void>()

export const getState = (): State => state

export function setState(part: Partial<State>): void {
  state = { ...state, ...part }
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** A part of the state; `select` must return the same object while nothing of it changed. */
export const useStore = <T>(select: (state: State) => T): T => useSyncExternalStore(subscribe, () => select(state))

/** Whether edits can be made now. */
export const canEdit = (now: State): boolean => now.link === "open" && now.graph !== null && now.graph.error === null
export const useCanEdit = (): boolean => useStore(canEdit)

/** The one step that is selected, if it is one. */
export function selectedStep(now: State) {
  const [only, ...more] = now.selected
  if (!only?.startsWith("step:") || more.length) return undefined
  return now.graph?.steps.find((step) => `step:${step.name}` === only)
}

const SHOWN = 3
let notices = 0

/** Says something, seen and heard; a fault stays longer, and can be closed. */
export function say(text: string, fault = false): void {
  const id = ++notices
  const others = state.notices.filter((notice) => notice.text !== text)
  setState({ notices: [...others.slice(1 - SHOWN), { id, text, fault }] })
  setTimeout(() => unsay(id), fault ? 15_000 : 4000)
}

export const unsay = (id: number): void => setState({ notices: state.notices.filter((notice) => notice.id !== id) })

export function setDirection(direction: Direction): void {
  localStorage.setItem(DIRECTION_KEY, direction)
  setState({ direction })
}

export const select = (ids: NodeId[]): void => setState({ selected: ids, selectedEdges: [] })

export const show = (dialog: Dialog): void => setState({ dialog })
