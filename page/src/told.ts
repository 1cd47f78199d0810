/** The graph as it travels, with each component once, into the graph that the page shows, with each step whole. */

import type { Graph, GraphEdge, OutPort, Port, Step, Told, ToldComponent, ToldStep } from "./types"

/** What each step was made of: one that is told again as it was stays the same object, so that it is not drawn again. */
const madeOf = new WeakMap<Step, string[]>()

const UNKNOWN: ToldComponent = { id: "", title: "", description: "", command: "", inputs: [], outputs: [] }

/** By port: the pipeline's output that it is given to. */
type Given = Map<string, string>

function wholeStep(step: ToldStep, component: ToldComponent | undefined, given: Given, told: Told): Step {
  const { id, description, command, inputs, outputs, title } = component ?? { ...UNKNOWN, title: step.name }
  const values = new Map(Object.entries(step.values))
  return {
    name: step.name,
    component: id,
    title,
    description,
    missing: step.missing,
    command,
    inputs: [...inputs, ...step.more_inputs].map((port): Port => ({ ...port, value: values.get(port.name) ?? null })),
    outputs: [...outputs, ...step.more_outputs].map((port): OutPort => ({ ...port, output: given.get(port.name) ?? null })),
    settings: told.settings.map(({ path, label }) => ({ path, label, value: step.settings[path] ?? null })),
  }
}

/** The steps that are told; those that nothing changed for are the old ones. */
function wholeSteps(told: Told, old: Step[]): Step[] {
  const components = told.components.map((component) => JSON.stringify(component))
  const before = new Map(old.map((step) => [step.name, step]))
  const given = new Map(told.steps.map((step): [string, Given] => [step.name, new Map()]))
  for (const { name, from } of told.outputs) if (from) given.get(from.step)?.set(from.port, name)
  return told.steps.map((step) => {
    const own = given.get(step.name) ?? new Map()
    const made = [JSON.stringify(step), components[step.component ?? -1] ?? "", JSON.stringify([...own])]
    const was = before.get(step.name)
    if (was && sameItems(madeOf.get(was) ?? [], made)) return was
    const whole = wholeStep(step, told.components[step.component ?? -1], own, told)
    madeOf.set(whole, made)
    return whole
  })
}

/** An edge's id says all of it. */
function keptEdges(edges: GraphEdge[], old: GraphEdge[]): GraphEdge[] {
  const before = new Map(old.map((edge) => [edge.id, edge]))
  return edges.map((edge) => before.get(edge.id) ?? edge)
}

/** The whole graph; `before` is what is shown of the same pipeline. */
export function whole(told: Told, before: Graph | null): Graph {
  const { components, settings, steps, edges, ...rest } = told
  return { ...rest, steps: wholeSteps(told, before?.steps ?? []), edges: keptEdges(edges, before?.edges ?? []) }
}

const sameItems = (one: unknown[], other: unknown[]): boolean =>
  one.length === other.length && one.every((item, index) => item === other[index])

/** Whether two graphs show the same. */
export function isSame(one: Graph, other: Graph): boolean {
  const rest = ({ steps, edges, ...more }: Graph): string => JSON.stringify(more)
  return sameItems(one.steps, other.steps) && sameItems(one.edges, other.edges) && rest(one) === rest(other)
}
