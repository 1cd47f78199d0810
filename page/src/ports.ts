/** Which ports go together, and what a parameter takes: said at once, before the server answers. Pure functions of the graph. */

import { once } from "./once"
import type { Graph, GraphEdge, NodeId, OutPort, PipelineInput, Port, Step, Value } from "./types"

export const stepId = (name: string): NodeId => `step:${name}`
export const inputId = (name: string): NodeId => `input:${name}`
export const outputId = (name: string): NodeId => `output:${name}`
export const nameOf = (id: NodeId): string => id.slice(id.indexOf(":") + 1)
export const sortOf = (id: NodeId): "step" | "input" | "output" => id.slice(0, id.indexOf(":")) as "step" | "input" | "output"

/** The only handle of a pipeline's input or output. */
export const WHOLE = "value"

const KIND_NAMES: Record<string, string> = {
  images: "images",
  model: "a model",
  transformation: "a transformation",
  scores: "scored images",
  results: "evaluation results",
  onnx: "an ONNX model",
  "": "any folder",
}

/** A kind in plain words; one that this page does not know is its own name. */
export const kindName = (kind: string): string => KIND_NAMES[kind] ?? kind

const sameKind = (one: string, other: string): boolean => one === other || one === "" || other === ""

const stepsByName = once((steps: Step[]) => new Map(steps.map((step) => [step.name, step])))

export const stepNamed = (graph: Graph, name: string): Step | undefined => stepsByName(graph.steps).get(name)

export const outPort = (step: Step | undefined, name: string): OutPort | undefined =>
  step?.outputs.find((port) => port.name === name)

export const inPort = (step: Step | undefined, name: string): Port | undefined => step?.inputs.find((port) => port.name === name)

/** All nodes that `from` can be reached from, itself too. */
export function upstream(edges: GraphEdge[], from: NodeId): Set<NodeId> {
  const sources = new Map<NodeId, NodeId[]>()
  for (const { source, target } of edges) {
    const near = sources.get(target)
    if (near) near.push(source)
    else sources.set(target, [source])
  }
  const found = new Set<NodeId>([from])
  const left = [from]
  for (let node = left.pop(); node !== undefined; node = left.pop()) {
    for (const source of sources.get(node) ?? []) {
      if (!found.has(source)) {
        found.add(source)
        left.push(source)
      }
    }
  }
  return found
}

/** All nodes that can be reached from `from`, itself too. */
export const downstream = (edges: GraphEdge[], from: NodeId): Set<NodeId> =>
  upstream(
    edges.map((edge) => ({ ...edge, source: edge.target, target: edge.source })),
    from,
  )

export interface Connection {
  source: NodeId
  sourcePort: string
  target: NodeId
  targetPort: string
}

/** Why the two ports cannot be connected, or null. `above`: all nodes upstream of the source. */
export function whyNot(
  graph: Graph,
  wanted: Connection,
  above: Set<NodeId> = upstream(graph.edges, wanted.source),
): string | null {
  const { source, target } = wanted
  if (source === target) return "a step cannot read its own output"
  if (above.has(target)) return `${nameOf(source)} already comes after ${nameOf(target)}: this would be a circle`
  if (sortOf(target) === "output") return sortOf(source) === "step" ? null : "a pipeline's output is written by a step"
  const port = inPort(stepNamed(graph, nameOf(target)), wanted.targetPort)
  if (!port) return "there is no such port"
  if (!port.is_data) return `${port.name} is a parameter: set it in the pane`
  if (sortOf(source) === "input") return null
  const from = outPort(stepNamed(graph, nameOf(source)), wanted.sourcePort)
  if (!from || sameKind(from.kind, port.kind)) return null
  return `${port.name} takes ${kindName(port.kind)}, and ${from.name} is ${kindName(from.kind)}`
}

const NOT_ASKED: Set<NodeId> = new Set()

/** Ports that an edge from this port may end at, as "node port". */
export function reachableFrom(graph: Graph, node: NodeId, port: string, side: "source" | "target"): Set<string> {
  const inCircle = side === "source" ? upstream(graph.edges, node) : downstream(graph.edges, node)
  const found = new Set<string>()
  const consider = (other: NodeId, otherPort: string): void => {
    if (inCircle.has(other)) return
    const wanted =
      side === "source"
        ? { source: node, sourcePort: port, target: other, targetPort: otherPort }
        : { source: other, sourcePort: otherPort, target: node, targetPort: port }
    if (whyNot(graph, wanted, NOT_ASKED) === null) found.add(`${other} ${otherPort}`)
  }
  for (const step of graph.steps) {
    const ports = side === "source" ? step.inputs.filter((one) => one.is_data) : step.outputs
    for (const one of ports) consider(stepId(step.name), one.name)
  }
  for (const output of graph.outputs) if (side === "source") consider(outputId(output.name), WHOLE)
  for (const input of graph.inputs) if (side === "target" && input.is_data) consider(inputId(input.name), WHOLE)
  return found
}

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/
const INTEGER = /^[+-]?\d+$/

/** Why `port` cannot be `text`, in the words of the components' own errors, or null. */
export function faultOf(port: Port, text: string): string | null {
  const { name } = port
  if (port.choices?.length)
    return port.choices.includes(text) ? null : `${name} is ${text}, it must be one of: ${port.choices.join(", ")}`
  if (port.type === "boolean") return /^(true|false)$/i.test(text) ? null : `${name} is ${text}, it must be true or false`
  if (port.type === "integer" && !INTEGER.test(text)) return `${name} is ${text}, it must be a whole number`
  if (port.type === "number" && !NUMBER.test(text)) return `${name} is ${text}, it must be a number`
  if (port.type !== "integer" && port.type !== "number") return null
  const value = Number(text)
  if (port.min !== null && value < port.min) return `${name} is ${text}, it must not be below ${port.min}`
  if (port.max !== null && value > port.max) return `${name} is ${text}, it must not be above ${port.max}`
  return null
}

/** What a number may be, e.g. "1 or more", or "" where anything goes. */
export function rangeOf(port: Port): string {
  if (port.min !== null && port.max !== null) return `${port.min} to ${port.max}`
  if (port.min !== null) return `${port.min} or more`
  return port.max === null ? "" : `${port.max} or less`
}

export const isText = (value: Value | null): value is { text: string } => value !== null && "text" in value

/** A value as one key, for a select and for comparing. */
export function keyOf(value: Value | null): string {
  if (value === null) return ""
  if ("text" in value || "searched" in value) return "text"
  return "input" in value ? `input:${value.input}` : `step:${value.step}:${value.port}`
}

/** What a port reads, in words. */
export function wordsOf(value: Value | null): string {
  if (value === null) return "nothing"
  if ("text" in value) return value.text
  if ("searched" in value) return value.searched
  return "input" in value ? `input ${value.input}` : `${value.port} of ${value.step}`
}

const INPUT_REFERENCE = /^\$\{\{\s*parent\.inputs\.(\w+)\s*\}\}$/

/** The input of the pipeline that a setting comes from, or null. */
export const inputOfSetting = (text: string | null): string | null => INPUT_REFERENCE.exec(text ?? "")?.[1] ?? null

export const settingFromInput = (name: string): string => `\${{parent.inputs.${name}}}`

/** Who reads an input of the pipeline: ports, and settings of steps. */
export function readersOf(graph: Graph, input: PipelineInput): string[] {
  const settings = graph.steps.flatMap((step) =>
    step.settings.flatMap((setting) =>
      inputOfSetting(setting.value) === input.name ? [`${setting.label} of ${step.name}`] : [],
    ),
  )
  return [...input.used_by.map((use) => `${use.port} of ${use.step}`), ...settings]
}
