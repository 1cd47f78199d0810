/** The ways of long edges around the nodes of the layers between their ends, for as long as these stand where the layout put them. */

import { layOut, type LaidOut } from "./layout"
import { sizesOf } from "./size"
import type { Direction } from "./state"
import type { Graph, NodeId, Positions } from "./types"

export type Point = [number, number]

/** Larger graphs would be laid out for too long at every change. */
const MOST_STEPS = 60
const CLOSE = 3 // pixels

let latest: { key: string; laidOut: LaidOut } | null = null

/** The layout that the nodes were put in last: kept while the graph changes, since the nodes stay where they are. */
function layoutOf(graph: Graph, direction: Direction): LaidOut {
  const key = `${direction} ${graph.path}`
  if (latest?.key !== key) latest = { key, laidOut: layOut(graph, direction) }
  return latest.laidOut
}

/** All nodes are being laid out anew: their edges follow this layout from now on. */
export function layOutForRoutes(graph: Graph, direction: Direction): Positions {
  latest = { key: `${direction} ${graph.path}`, laidOut: layOut(graph, direction) }
  return latest.laidOut.places
}

/** From where to where each layer reaches, across the flow. */
function layersOf(places: Positions, graph: Graph, direction: Direction): [number, number][] {
  const layers = new Map<number, [number, number]>()
  for (const [id, { width, height }] of sizesOf(graph, direction)) {
    const place = places[id]
    if (!place) continue // it came after the layout
    const [start, length] = direction === "down" ? [place[1], height] : [place[0], width]
    const middle = Math.round((start + length / 2) / 4)
    const [from, to] = layers.get(middle) ?? [start, start + length]
    layers.set(middle, [Math.min(from, start), Math.max(to, start + length)])
  }
  return [...layers.values()]
}

/** How far the graph as it stands is from the layout, where it is moved as a whole. */
function shiftOf(places: Positions, laidOut: Positions, id: NodeId): Point | null {
  const [now, then] = [places[id], laidOut[id]]
  return now && then ? [now[0] - then[0], now[1] - then[1]] : null
}

const near = (one: Point, other: Point): boolean => Math.abs(one[0] - other[0]) < CLOSE && Math.abs(one[1] - other[1]) < CLOSE

/** By edge, the points at which it enters and leaves the layers that it passes; edges that pass none, or whose ends were moved, have none. */
export function routesOf(graph: Graph, places: Positions, direction: Direction): Map<string, Point[]> {
  const routes = new Map<string, Point[]>()
  if (graph.steps.length > MOST_STEPS || graph.steps.length === 0) return routes
  const laidOut = layoutOf(graph, direction)
  const layers = layersOf(laidOut.places, graph, direction)
  for (const edge of graph.edges) {
    const [source, target] = [shiftOf(places, laidOut.places, edge.source), shiftOf(places, laidOut.places, edge.target)]
    if (!source || !target || !near(source, target)) continue
    const [dx, dy] = source
    const points = (laidOut.ways.get(edge.id) ?? []).flatMap(([x, y]): Point[] => {
      const across = direction === "down" ? y : x
      const layer = layers.find(([from, to]) => Math.abs((from + to) / 2 - across) < CLOSE)
      if (!layer) return []
      return layer.map((at): Point => (direction === "down" ? [x + dx, at + dy] : [at + dx, y + dy]))
    })
    if (points.length) routes.set(edge.id, points)
  }
  return routes
}

/** A line through the points, which leaves and enters each along the flow. */
export function pathThrough(points: Point[], direction: Direction): string {
  const [start, ...rest] = points
  if (!start) return ""
  const parts = [`M${start[0]},${start[1]}`]
  let [x, y] = start
  for (const [nextX, nextY] of rest) {
    const [middleX, middleY] = [(x + nextX) / 2, (y + nextY) / 2]
    parts.push(
      direction === "down"
        ? `C${x},${middleY} ${nextX},${middleY} ${nextX},${nextY}`
        : `C${middleX},${y} ${middleX},${nextY} ${nextX},${nextY}`,
    )
    ;[x, y] = [nextX, nextY]
  }
  return parts.join(" ")
}
