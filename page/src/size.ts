/** How large each node is: known before it is drawn, for the layout, and so that only what is in sight must be drawn. */

import type { Direction } from "./state"
import type { Declared, DeclaredOutput, Graph, NodeId } from "./types"
import { inputId, outputId, stepId } from "./ports"

export interface Size {
  width: number
  height: number
}

/** What has ports. */
interface Ported {
  inputs: Declared[]
  outputs: DeclaredOutput[]
}

const LETTER = 5.8 // pixels of a port's name, in the mean
const PORT_ROW = 18
const HEAD = 44
const STATUS = 38
const NARROWEST = 232
const WIDEST_NAME = 132

const nameWidth = (name: string): number => Math.min(WIDEST_NAME, name.length * LETTER + 16)

/** The size of a step, or of one that a component will make. */
export function stepSize(step: Ported, direction: Direction): Size {
  const inputs = step.inputs.filter((port) => port.is_data)
  if (direction === "down") {
    const row = (names: string[]): number => Math.max(0, ...names.map(nameWidth)) * names.length
    const width = Math.max(NARROWEST, row(inputs.map((port) => port.name)), row(step.outputs.map((port) => port.name)))
    return { width: Math.round(width), height: HEAD + STATUS + 2 * PORT_ROW }
  }
  const widest = (names: string[]): number => Math.max(0, ...names.map(nameWidth))
  const width = widest(inputs.map((port) => port.name)) + widest(step.outputs.map((port) => port.name)) + 16
  const rows = Math.max(1, inputs.length, step.outputs.length)
  return { width: Math.round(Math.max(NARROWEST, width)), height: HEAD + STATUS + rows * PORT_ROW + 6 }
}

const EDGE_NODE: Size = { width: 168, height: 46 }

/** The nodes of the canvas: steps, data inputs and outputs of the pipeline, each with its size. */
export function sizesOf(graph: Graph, direction: Direction): Map<NodeId, Size> {
  const sizes = new Map<NodeId, Size>()
  for (const input of graph.inputs) if (input.is_data) sizes.set(inputId(input.name), EDGE_NODE)
  for (const step of graph.steps) sizes.set(stepId(step.name), stepSize(step, direction))
  for (const output of graph.outputs) sizes.set(outputId(output.name), EDGE_NODE)
  return sizes
}
