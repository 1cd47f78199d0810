/** The server's graphs and runs into the page's state, and the page's changes to the server. */

import * as api from "./api"
import { completed } from "./layout"
import { canEdit, getState, say, setState } from "./state"
import type { Edit, Graph, NodeId, Positions, Run, Told } from "./types"
import { inputId, stepId } from "./ports"
import { sizesOf } from "./size"
import { isSame, whole } from "./told"

/** Without what every object has: a step may be called `constructor`. */
function keptSteps(old: Run | null, now: Run): Run["steps"] {
  const steps = Object.create(null) as Run["steps"]
  for (const [name, step] of Object.entries(now.steps)) {
    const before = old?.steps[name]
    steps[name] = before && JSON.stringify(before) === JSON.stringify(step) ? before : step
  }
  return steps
}

let renamed: { from: NodeId; to: NodeId } | null = null

/** Sends another name of a step, or of an input of the pipeline; answers why it was refused, or null. */
export async function sendName(from: NodeId, to: NodeId, edit: Edit): Promise<string | null> {
  renamed = { from, to }
  const refusal = await tryEdit([edit])
  renamed = null
  if (refusal === null) postPlaces()
  return refusal
}

const identities = new Map<NodeId, number>()
let lastIdentity = 0

/** A number that a step or an input keeps when it gets another name, so that its fields stay, and the focus in them. */
export function identityOf(id: NodeId): number {
  const known = identities.get(id) ?? ++lastIdentity
  identities.set(id, known)
  return known
}

/** The selection and the places after a change of a name that this graph is the first to show. */
function followRename(graph: Graph, before: Graph | null): { positions: Positions; selected: NodeId[] } {
  const { positions, selected } = getState()
  const has = (one: Graph | null, id: NodeId): boolean =>
    one !== null &&
    (one.steps.some((step) => stepId(step.name) === id) || one.inputs.some((input) => inputId(input.name) === id))
  if (!renamed || !has(graph, renamed.to) || has(before, renamed.to)) return { positions, selected }
  const { from, to } = renamed
  renamed = null
  identities.set(to, identityOf(from))
  identities.delete(from)
  const place = positions[from]
  return { positions: place ? { ...positions, [to]: place } : positions, selected: selected.map((id) => (id === from ? to : id)) }
}

/** Places for the steps that the page itself is adding, first come first served. */
const awaited: { place: [number, number] }[] = []
let unsentPlaces = 0

/** Where each node stands: as the server says, unless the page has moved nodes since and not yet told. */
function placed(graph: Graph, before: Graph | null, local: Positions): Positions {
  const same = before?.path === graph.path
  const known = same && unsentPlaces > 0 ? { ...graph.positions, ...local } : { ...(same ? local : {}), ...graph.positions }
  if (same) {
    const old = new Set(before.steps.map((step) => step.name))
    for (const step of graph.steps) {
      const next = old.has(step.name) || awaited.length === 0 ? undefined : awaited.shift()
      if (next) known[stepId(step.name)] = next.place
    }
  }
  return completed(graph, known, getState().direction)
}

/** Takes what the server says of the pipeline; revisions go on counting in the next one that is opened. `first`: whatever it is, since the server may be a new one. */
function takeGraph(told: Told, first = false): void {
  const { graph: before, selectedEdges } = getState()
  const same = before?.path === told.path
  if (!first && before && told.revision < before.revision) return
  const graph = whole(told, same ? before : null)
  if (same && isSame(graph, before)) return
  const { positions, selected } = followRename(graph, before)
  const nodes = new Set(nodesOf(graph))
  const edges = new Set(graph.edges.map((edge) => edge.id))
  setState({
    graph,
    positions: placed(graph, before, positions),
    selected: same ? selected.filter((id) => nodes.has(id)) : [],
    selectedEdges: selectedEdges.filter((id) => edges.has(id)),
  })
}

const nodesOf = (graph: Graph): NodeId[] => [...sizesOf(graph, "down").keys()]

function takeRun(run: Run): void {
  setState({ run: { ...run, steps: keptSteps(getState().run, run) } })
}

let stream: EventSource | null = null

/** Follows the server for as long as the page is there. */
export function follow(): void {
  stream?.close()
  let first = true
  const source = new EventSource(api.STREAM)
  stream = source
  source.addEventListener("open", () => setState({ link: "open" }))
  source.addEventListener("graph", (event: MessageEvent<string>) => {
    takeGraph(JSON.parse(event.data) as Told, first)
    if (first) void fetchPalette()
    first = false
  })
  source.addEventListener("run", (event: MessageEvent<string>) => takeRun(JSON.parse(event.data) as Run))
  source.addEventListener("error", () => {
    first = true
    setState({ link: "lost" })
    if (source.readyState === EventSource.CLOSED) void tryAgain(source)
  })
}

/** The browser has given up on the stream: find out why, and begin anew unless we may not. */
async function tryAgain(source: EventSource): Promise<void> {
  await new Promise((done) => setTimeout(done, 1500))
  if (source !== stream) return
  try {
    await api.pipelines()
  } catch (error) {
    if (error instanceof api.Refusal && (error.status === 401 || error.status === 403)) return setState({ link: "refused" })
  }
  follow()
}

/** Components come and change while their author is in an editor, and another server may have others. */
export async function fetchPalette(): Promise<void> {
  if (getState().link !== "open") return
  try {
    setState({ palette: await api.palette() })
  } catch (error) {
    sayFault(error)
  }
}

export function sayFault(error: unknown): void {
  say(api.messageOf(error), true)
}

let queue: Promise<unknown> = Promise.resolve()

/** One after the other, so that each change knows the revision that the one before it made. */
export function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const done = queue.then(work, work)
  queue = done.catch(() => undefined)
  return done
}

/** Sends edits, one step of undo; answers the server's refusal, or null. */
function send(edits: Edit[], beforehand?: (graph: Graph) => void): Promise<api.Refusal | null> {
  return inTurn(async () => {
    const { graph } = getState()
    if (!graph || !canEdit(getState())) return new api.Refusal(0, api.NO_SERVER)
    beforehand?.(graph)
    try {
      takeAnswer(await api.edit(graph.revision, edits))
      return null
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error
      if (error.status === 409) {
        say("The pipeline was changed meanwhile, by another page. It is shown as it is now, without your last change.", true)
        follow()
      }
      return error
    }
  })
}

/** Sends edits; answers in words why they were refused, or null. */
export const tryEdit = async (edits: Edit[]): Promise<string | null> => (await send(edits))?.message ?? null

/** An answer may come after the stream has told more of the same revision: then the stream is right. */
function takeAnswer(told: Told): void {
  const before = getState().graph
  if (!before || told.revision > before.revision || told.saved !== before.saved) takeGraph(told)
}

/** Sends edits and says a refusal aloud; true if they were made. `beforehand`: when it is their turn. */
export async function edit(edits: Edit[], beforehand?: (graph: Graph) => void): Promise<boolean> {
  const refusal = await send(edits, beforehand)
  if (refusal && refusal.status !== 409) say(refusal.message, true)
  return refusal === null
}

/** An edit whose new steps get these places, in the order of the edit; `places` sees the steps of the edits before it. */
export async function editWithPlaces(edits: Edit[], places: (graph: Graph) => [number, number][]): Promise<boolean> {
  const before = new Set<string>()
  const mine: typeof awaited = []
  const made = await edit(edits, (graph) => {
    for (const step of graph.steps) before.add(step.name)
    mine.push(...places(graph).map((place) => ({ place })))
    awaited.push(...mine)
  })
  for (const one of mine) if (awaited.includes(one)) awaited.splice(awaited.indexOf(one), 1)
  if (!made) return false
  setState({
    selected: (getState().graph?.steps ?? []).filter((step) => !before.has(step.name)).map((step) => stepId(step.name)),
    selectedEdges: [],
  })
  postPlaces()
  return true
}

/** A request that answers a graph; its refusal is said aloud. */
export async function change(request: () => Promise<Told>): Promise<boolean> {
  try {
    takeAnswer(await inTurn(request))
    return true
  } catch (error) {
    sayFault(error)
    return false
  }
}

let timer: ReturnType<typeof setTimeout> | undefined

/** Sends where the nodes stand, a moment after the last was moved. */
export function postPlaces(): void {
  if (timer === undefined) unsentPlaces += 1
  clearTimeout(timer)
  timer = setTimeout(() => {
    timer = undefined
    void sendPlaces()
  }, 250)
}

async function sendPlaces(): Promise<void> {
  try {
    await api.positions(placesNow())
  } catch (error) {
    sayFault(error)
  } finally {
    unsentPlaces -= 1
  }
}

/** Only nodes that are there: the state also remembers those that an undo may bring back. */
function placesNow(): Positions {
  const { graph, positions } = getState()
  return Object.fromEntries((graph ? nodesOf(graph) : []).flatMap((id) => (positions[id] ? [[id, positions[id]]] : [])))
}

export function movePlaces(moved: Positions): void {
  setState({ positions: { ...getState().positions, ...moved } })
  postPlaces()
}
