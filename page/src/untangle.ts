/**
 * dagre orders each layer by its nodes; here the ports on them count too, so that fewer edges cross where they arrive. The layer sweep of
 * Sugiyama, Tagawa and Toda (1981): layers are sorted by the mean place of their neighbours, down and up, and the best of all orders is kept.
 */

/** A node of one layer, also one that stands for an edge passing by. */
type Layer = string[]

interface LayerEdge {
  from: string
  to: string
  /** Where along its node the edge leaves and arrives, from 0 to 1. */
  leaves: number
  arrives: number
}

const SWEEPS = 12
/** Larger graphs are left as dagre made them. */
const MOST_EDGES = 400

type Places = Map<string, number>

const placesOf = (layers: Layer[]): Places =>
  new Map(layers.flatMap((layer) => layer.map((node, index): [string, number] => [node, index])))

/** Pairs of edges that cross between two layers, over all layers. */
function crossings(layers: Layer[], edges: LayerEdge[]): number {
  const at = placesOf(layers)
  const layerOf = new Map(layers.flatMap((layer, index) => layer.map((node): [string, number] => [node, index])))
  const between = new Map<number, [number, number][]>()
  for (const edge of edges) {
    const layer = layerOf.get(edge.from) ?? 0
    const ends: [number, number] = [(at.get(edge.from) ?? 0) + edge.leaves, (at.get(edge.to) ?? 0) + edge.arrives]
    between.set(layer, [...(between.get(layer) ?? []), ends])
  }
  let found = 0
  for (const ends of between.values()) {
    ends.forEach(([from, to], index) => {
      for (let other = index + 1; other < ends.length; other++) if ((from - ends[other]![0]) * (to - ends[other]![1]) < 0) found++
    })
  }
  return found
}

/** One layer sorted by the mean place of its neighbours on one side; nodes without any keep their place. */
function sorted(layer: Layer, at: Places, neighbours: Map<string, { node: string; share: number }[]>): Layer {
  const mean = new Map(
    layer.map((node, index): [string, number] => {
      const near = neighbours.get(node) ?? []
      if (near.length === 0) return [node, index]
      return [node, near.reduce((sum, { node: other, share }) => sum + (at.get(other) ?? 0) + share, 0) / near.length]
    }),
  )
  return [...layer].sort((one, other) => (mean.get(one) ?? 0) - (mean.get(other) ?? 0))
}

/** For each node, those before it (or after it) with the place of the edge along them. */
function neighboursOf(edges: LayerEdge[], side: "before" | "after") {
  const found = new Map<string, { node: string; share: number }[]>()
  for (const { from, to, leaves, arrives } of edges) {
    const [node, near] = side === "before" ? [to, { node: from, share: leaves }] : [from, { node: to, share: arrives }]
    found.set(node, [...(found.get(node) ?? []), near])
  }
  return found
}

/** The layers in the best order found; the given one where none is better. */
export function untangled(layers: Layer[], edges: LayerEdge[]): Layer[] {
  if (edges.length > MOST_EDGES) return layers
  const before = neighboursOf(edges, "before")
  const after = neighboursOf(edges, "after")
  let [best, fewest] = [layers, crossings(layers, edges)]
  let now = layers
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const down = sweep % 2 === 0
    now = swept(now, down, down ? before : after)
    now = uncrossed(now, edges)
    const found = crossings(now, edges)
    if (found < fewest) [best, fewest] = [now, found]
  }
  return best
}

function swept(layers: Layer[], down: boolean, neighbours: ReturnType<typeof neighboursOf>): Layer[] {
  const result = [...layers]
  const order = down ? [...result.keys()] : [...result.keys()].reverse()
  for (const index of order) result[index] = sorted(result[index] ?? [], placesOf(result), neighbours)
  return result
}

/** Neighbours change places as long as that takes crossings away. */
function uncrossed(layers: Layer[], edges: LayerEdge[]): Layer[] {
  let [best, fewest] = [layers, crossings(layers, edges)]
  for (let layer = 0; layer < layers.length; layer++) {
    for (let index = 0; index + 1 < (best[layer]?.length ?? 0); index++) {
      const order = [...(best[layer] ?? [])]
      order.splice(index, 2, order[index + 1]!, order[index]!)
      const tried = best.map((one, at) => (at === layer ? order : one))
      const found = crossings(tried, edges)
      if (found < fewest) [best, fewest] = [tried, found]
    }
  }
  return best
}
