/** Where nodes stand when nobody has placed them: in layers, by dagre. */

import { Graph as LayeredGraph, layout } from "@dagrejs/dagre"
import type { Direction } from "./state"
import type { Graph, GraphEdge, NodeId, Positions } from "./types"
import { nameOf, sortOf, stepNamed } from "./ports"
import { sizesOf, type Size } from "./size"
import { untangled } from "./untangle"

const GAP = 40

export interface LaidOut {
  places: Positions
  /** By edge: where it passes each layer between its ends, in the middle of the layer. */
  ways: Map<string, [number, number][]>
}

/** Places of all nodes, top to bottom or left to right, and the ways of the edges that pass other layers. */
export function layOut(graph: Graph, direction: Direction): LaidOut {
  const sizes = sizesOf(graph, direction)
  const layered = new LayeredGraph({ multigraph: true })
  layered.setGraph({
    rankdir: direction === "down" ? "TB" : "LR",
    nodesep: 28,
    edgesep: 20,
    ranksep: 48,
    marginx: 20,
    marginy: 20,
  })
  layered.setDefaultEdgeLabel(() => ({}))
  for (const [id, { width, height }] of sizes) layered.setNode(id, { width, height })
  const edges = graph.edges.filter((edge) => sizes.has(edge.source) && sizes.has(edge.target))
  for (const edge of edges) layered.setEdge(edge.source, edge.target, {}, edge.id)
  const shares = new Map(edges.map((edge) => [edge.id, sharesOf(graph, edge)]))
  layout(layered, {
    customOrder: (inner, order) => {
      order(inner)
      orderByPorts(inner, shares)
    },
  })
  const places: Positions = {}
  for (const [id, { width, height }] of sizes) {
    const { x = 0, y = 0 } = layered.node(id) as { x?: number; y?: number }
    places[id] = [Math.round(x - width / 2), Math.round(y - height / 2)]
  }
  const ways = edges.map((edge): [string, [number, number][]] => {
    const { points = [] } = layered.edge(edge.source, edge.target, edge.id) as { points?: { x: number; y: number }[] }
    return [edge.id, points.slice(1, -1).map(({ x, y }) => [x, y])]
  })
  return { places, ways: new Map(ways) }
}

/** How far along their nodes the ports of an edge are, from 0 to 1. */
function sharesOf(graph: Graph, edge: GraphEdge): [number, number] {
  const share = (names: string[] | undefined, port: string): number => {
    const at = names?.indexOf(port) ?? -1
    return names && at >= 0 ? (at + 0.5) / names.length : 0.5
  }
  const outputs = stepNamed(graph, nameOf(edge.source))?.outputs.map((port) => port.name)
  const inputs = stepNamed(graph, nameOf(edge.target))
    ?.inputs.filter((port) => port.is_data)
    .map((port) => port.name)
  return [
    share(sortOf(edge.source) === "step" ? outputs : undefined, edge.source_port),
    share(sortOf(edge.target) === "step" ? inputs : undefined, edge.target_port),
  ]
}

interface Ordered {
  rank?: number
  order?: number
}

/** Orders dagre's layers anew, by the ports; edges keep their names where dagre has cut them at each layer. */
function orderByPorts(inner: LayeredGraph, shares: Map<string, [number, number]>): void {
  const layers: string[][] = []
  const nodes = inner.nodes().map((id): [string, Ordered] => [id, inner.node(id) as Ordered])
  nodes.sort(([, one], [, other]) => (one.order ?? 0) - (other.order ?? 0))
  for (const [id, { rank = 0 }] of nodes) (layers[rank] ??= []).push(id)
  const isNode = (id: string): boolean => (inner.node(id) as { dummy?: string }).dummy === undefined
  const edges = inner.edges().map(({ v, w, name }) => {
    const [leaves, arrives] = shares.get(name ?? "") ?? [0.5, 0.5]
    return { from: v, to: w, leaves: isNode(v) ? leaves : 0.5, arrives: isNode(w) ? arrives : 0.5 }
  })
  for (const layer of untangled(
    Array.from(layers, (layer) => layer ?? []),
    edges,
  )) {
    layer.forEach((id, index) => ((inner.node(id) as Ordered).order = index))
  }
}

/** `known` places, and one for each node that has none: all laid out where none is known, else beside what is there. */
export function completed(graph: Graph, known: Positions, direction: Direction): Positions {
  const sizes = sizesOf(graph, direction)
  const missing = [...sizes.keys()].filter((id) => !known[id])
  if (missing.length === 0) return known
  if (missing.length === sizes.size) return { ...known, ...layOut(graph, direction).places }
  const places = { ...known }
  for (const id of missing) places[id] = freePlace(graph, sizes, places, id, direction)
  return places
}

const boxesOf = (sizes: Map<NodeId, Size>, places: Positions): Box[] =>
  [...sizes].flatMap(([id, size]) => (places[id] ? [{ x: places[id][0], y: places[id][1], ...size }] : []))

/** Below everything. */
const belowAll = (boxes: Box[]): [number, number] => [
  Math.min(...boxes.map((box) => box.x)),
  Math.max(...boxes.map((box) => box.y + box.height)) + GAP,
]

/** A free place for a new node: after what it reads, else below everything. */
function freePlace(
  graph: Graph,
  sizes: Map<NodeId, Size>,
  places: Positions,
  id: NodeId,
  direction: Direction,
): [number, number] {
  const boxes = boxesOf(sizes, places)
  const source = graph.edges.find((edge) => edge.target === id && places[edge.source])?.source
  const from = source ? places[source] : undefined
  const size = sizes.get(id) ?? { width: 0, height: 0 }
  const start = from && source ? after(from, sizes.get(source), direction) : belowAll(boxes)
  return freeFrom(start, size, boxes, direction)
}

function after(
  place: [number, number],
  size: Size | undefined,
  direction: Direction,
): [number, number] {
  if (!size) return place
  return direction === "down" ? [place[0], place[1] + size.height + GAP] : [place[0] + size.width + GAP, place[1]]
}

interface Box extends Size {
  x: number
  y: number
}

/** The first place from `start` on, across the direction of flow, where nothing else stands. */
function freeFrom(
  start: [number, number],
  size: Size,
  boxes: Box[],
  direction: Direction,
): [number, number] {
  const place: [number, number] = [Math.round(start[0]), Math.round(start[1])]
  const hit = () =>
    boxes.find(
      (box) =>
        place[0] < box.x + box.width &&
        box.x < place[0] + size.width &&
        place[1] < box.y + box.height &&
        box.y < place[1] + size.height,
    )
  for (let box = hit(); box; box = hit()) {
    if (direction === "down") place[0] = box.x + box.width + GAP
    else place[1] = box.y + box.height + GAP
  }
  return place
}

/** A free place to the right of a node, or below everything where there is none. */
export function placeBeside(
  graph: Graph,
  places: Positions,
  beside: NodeId | undefined,
  size: Size,
  direction: Direction,
): [number, number] {
  const sizes = sizesOf(graph, direction)
  const boxes = boxesOf(sizes, places)
  const place = beside ? places[beside] : undefined
  const box = beside ? sizes.get(beside) : undefined
  if (place && box) return freeFrom([place[0] + box.width + GAP, place[1]], size, boxes, "down")
  if (boxes.length === 0) return [GAP, GAP]
  return freeFrom(belowAll(boxes), size, boxes, "down")
}
