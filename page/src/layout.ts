/** Where nodes stand when nobody has placed them: in layers, by dagre. */

import { Graph as LayeredGraph, layout } from "@dagrejs/dagre"
import type { Direction } from "./state"
import type { Graph, NodeId, Positions } from "./types"
import { sizesOf } from "./size"

const GAP = 40

/** Places of all nodes, top to bottom or left to right. */
export function layOut(graph: Graph, direction: Direction): Positions {
  const layered = new LayeredGraph({ multigraph: true })
  layered.setGraph({ rankdir: direction === "down" ? "TB" : "LR", nodesep: 28, ranksep: 48, marginx: 20, marginy: 20 })
  layered.setDefaultEdgeLabel(() => ({}))
  const sizes = sizesOf(graph, direction)
  for (const [id, { width, height }] of sizes) layered.setNode(id, { width, height })
  for (const edge of graph.edges) {
    if (sizes.has(edge.source) && sizes.has(edge.target)) layered.setEdge(edge.source, edge.target, {}, edge.id)
  }
  layout(layered)
  const places: Positions = {}
  for (const [id, { width, height }] of sizes) {
    const { x = 0, y = 0 } = layered.node(id) as { x?: number; y?: number }
    places[id] = [Math.round(x - width / 2), Math.round(y - height / 2)]
  }
  return places
}

/** `known` places, and one for each node that has none: all laid out where none is known, else beside what is there. */
export function completed(graph: Graph, known: Positions, direction: Direction): Positions {
  const sizes = sizesOf(graph, direction)
  const missing = [...sizes.keys()].filter((id) => !known[id])
  if (missing.length === 0) return known
  if (missing.length === sizes.size) return { ...known, ...layOut(graph, direction) }
  const places = { ...known }
  for (const id of missing) places[id] = freePlace(graph, places, id, direction)
  return places
}

/** A free place for a new node: after what it reads, else below everything. */
function freePlace(graph: Graph, places: Positions, id: NodeId, direction: Direction): [number, number] {
  const sizes = sizesOf(graph, direction)
  const boxes = [...sizes].flatMap(([other, size]) => {
    const place = places[other]
    return place ? [{ x: place[0], y: place[1], ...size }] : []
  })
  const source = graph.edges.find((edge) => edge.target === id && places[edge.source])?.source
  const from = source ? places[source] : undefined
  const size = sizes.get(id) ?? { width: 0, height: 0 }
  const bottom = Math.max(...boxes.map((box) => box.y + box.height))
  const left = Math.min(...boxes.map((box) => box.x))
  const start: [number, number] = from && source ? after(from, sizes.get(source), direction) : [left, bottom + GAP]
  return freeFrom(start, size, boxes, direction)
}

function after(place: [number, number], size: { width: number; height: number } | undefined, direction: Direction): [number, number] {
  if (!size) return place
  return direction === "down" ? [place[0], place[1] + size.height + GAP] : [place[0] + size.width + GAP, place[1]]
}

interface Box {
  x: number
  y: number
  width: number
  height: number
}

/** The first place from `start` on, across the direction of flow, where nothing else stands. */
export function freeFrom(start: [number, number], size: { width: number; height: number }, boxes: Box[], direction: Direction): [number, number] {
  const place: [number, number] = [Math.round(start[0]), Math.round(start[1])]
  const hit = () =>
    boxes.find((box) => place[0] < box.x + box.width && box.x < place[0] + size.width && place[1] < box.y + box.height && box.y < place[1] + size.height)
  for (let box = hit(); box; box = hit()) {
    if (direction === "down") place[0] = box.x + box.width + GAP
    else place[1] = box.y + box.height + GAP
  }
  return place
}

/** A free place to the right of a node, or below everything where there is none. */
export function placeBeside(graph: Graph, places: Positions, beside: NodeId | undefined, size: { width: number; height: number }, direction: Direction) {
  const sizes = sizesOf(graph, direction)
  const boxes = [...sizes].flatMap(([id, box]) => (places[id] ? [{ x: places[id][0], y: places[id][1], ...box }] : []))
  const place = beside ? places[beside] : undefined
  const box = beside ? sizes.get(beside) : undefined
  if (place && box) return freeFrom([place[0] + box.width + GAP, place[1]], size, boxes, "down")
  if (boxes.length === 0) return [0, 0] as [number, number]
  return freeFrom([Math.min(...boxes.map((b) => b.x)), Math.max(...boxes.map((b) => b.y + b.height)) + GAP], size, boxes, "down")
}
