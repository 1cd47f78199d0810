/** The graph as React Flow's nodes and edges. */

import type { EndNodeType } from "./EndNode"
import { once } from "./once"
import { inputId, inPort, nameOf, outPort, outputId, sortOf, stepId, stepNamed, WHOLE } from "./ports"
import type { Point } from "./routes"
import { sizesOf } from "./size"
import type { Direction, State } from "./state"
import { labelId, type StepNodeType } from "./StepNode"
import type { Graph, GraphEdge, NodeId } from "./types"
import type { WireType } from "./Wire"

export type CanvasNode = StepNodeType | EndNodeType

/** The kind of what each input of the pipeline feeds: the first port that wants a certain one. */
const kindsOfInputs = once(
  (graph: Graph) =>
    new Map(
      graph.inputs.map(({ name, used_by }): [string, string] => [
        name,
        used_by.map((use) => inPort(stepNamed(graph, use.step), use.port)?.kind).find(Boolean) ?? "",
      ]),
    ),
)

const kindOfInput = (graph: Graph, name: string): string => kindsOfInputs(graph).get(name) ?? ""

function ends(graph: Graph, direction: Direction): EndNodeType["data"][] {
  const inputs = graph.inputs
    .filter((input) => input.is_data)
    .map(({ name, type, value }) => ({ name, type, value, kind: kindOfInput(graph, name), side: "input" as const, direction }))
  const outputs = graph.outputs.map(({ name, type, from }) => {
    const kind = from ? (outPort(stepNamed(graph, from.step), from.port)?.kind ?? "") : ""
    return { name, type, value: null, kind, side: "output" as const, direction }
  })
  return [...inputs, ...outputs]
}

const sameData = (one: CanvasNode["data"], other: CanvasNode["data"]): boolean =>
  "step" in one && "step" in other
    ? one.step === other.step && one.direction === other.direction
    : JSON.stringify(one) === JSON.stringify(other)

/** All nodes; those that nothing changed for are the old ones, so that they are not drawn again. */
export function nodesOf(
  graph: Graph,
  state: Pick<State, "positions" | "direction" | "selected">,
  old: CanvasNode[],
): CanvasNode[] {
  const { positions, direction } = state
  const before = new Map(old.map((node) => [node.id, node]))
  const selected = new Set(state.selected)
  const sizes = sizesOf(graph, direction)
  const made = (id: NodeId, type: CanvasNode["type"], data: CanvasNode["data"]): CanvasNode => {
    const [x, y] = positions[id] ?? [0, 0]
    const was = before.get(id)
    const same = was !== undefined && sameData(was.data, data)
    if (same && was.position.x === x && was.position.y === y && Boolean(was.selected) === selected.has(id)) return was
    const size = sizes.get(id) ?? { width: 0, height: 0 }
    const base = was && same ? was : { id, type, data, ...size, domAttributes: { "aria-labelledby": labelId(id) } }
    return { ...base, position: { x, y }, selected: selected.has(id) } as CanvasNode
  }
  return [
    ...ends(graph, direction).map((data) => made(data.side === "input" ? inputId(data.name) : outputId(data.name), "end", data)),
    ...graph.steps.map((step) => made(stepId(step.name), "step", { step, direction })),
  ]
}

const handle = (id: NodeId, port: string): string => (sortOf(id) === "step" ? port : WHOLE)

function labelOf(edge: GraphEdge): string {
  const source = sortOf(edge.source) === "step" ? `${edge.source_port} of ${nameOf(edge.source)}` : `input ${nameOf(edge.source)}`
  const target =
    sortOf(edge.target) === "step" ? `${edge.target_port} of ${nameOf(edge.target)}` : `output ${nameOf(edge.target)}`
  return `${source} → ${target}`
}

const sameRoute = (one: Point[] | null | undefined, other: Point[] | null): boolean =>
  one === other || JSON.stringify(one) === JSON.stringify(other)

/** All edges; those that nothing changed for are the old ones. */
export function wiresOf(
  graph: Graph,
  state: Pick<State, "selectedEdges" | "direction">,
  routes: Map<string, Point[]>,
  old: WireType[],
): WireType[] {
  const { direction } = state
  const chosen = new Set(state.selectedEdges)
  const before = new Map(old.map((wire) => [wire.id, wire]))
  return graph.edges.map((edge) => {
    const from = outPort(stepNamed(graph, nameOf(edge.source)), edge.source_port)
    const kind = sortOf(edge.source) === "step" ? (from?.kind ?? "") : kindOfInput(graph, nameOf(edge.source))
    const route = routes.get(edge.id) ?? null
    const was = before.get(edge.id)
    const data = was?.data
    if (was?.selected === chosen.has(edge.id) && data?.kind === kind && data.direction === direction && sameRoute(data.route, route))
      return was
    return {
      id: edge.id,
      type: "wire",
      source: edge.source,
      sourceHandle: handle(edge.source, edge.source_port),
      target: edge.target,
      targetHandle: handle(edge.target, edge.target_port),
      selected: chosen.has(edge.id),
      ariaLabel: labelOf(edge),
      data: { label: labelOf(edge), kind, route, direction },
    }
  })
}
