import {
  applyNodeChanges,
  Background,
  BackgroundVariant,
  Controls,
  MiniMap,
  ReactFlow,
  SelectionMode,
  useConnection,
  useReactFlow,
  useStore as useFlow,
  type Connection as Wanted,
  type EdgeChange,
  type NodeChange,
  type OnConnectEnd,
  type OnConnectStart,
} from "@xyflow/react"
import { useCallback, useEffect, useMemo, useRef, useState, type DragEvent } from "react"
import { add, connect } from "./actions"
import { EndNode } from "./EndNode"
import { nodesOf, wiresOf, type CanvasNode } from "./elements"
import { reachableFrom, whyNot, type Connection } from "./ports"
import { routesOf } from "./routes"
import { movePlaces } from "./server"
import { getState, say, setState, useCanEdit, useStore } from "./state"
import { StepNode } from "./StepNode"
import type { Graph, Positions } from "./types"
import { Wire, type WireType } from "./Wire"

/** What a dragged entry of the palette is called while it is dragged. */
export const COMPONENT = "application/x-designer-component"

const nodeTypes = { step: StepNode, end: EndNode }
const edgeTypes = { wire: Wire }
/** Steps beyond which only those in sight are drawn. */
const MANY = 60
/** Below this zoom, what is too small to be read is not drawn. */
const FAR = 0.25
const MULTI = ["Shift", "Control", "Meta"]

const HEARD = {
  "node.a11yDescription.default":
    "Press Enter or Space to select. Then arrow keys move it, Delete removes it, and its values are in the pane.",
  "node.a11yDescription.keyboardDisabled": "Press Enter or Space to select.",
  "edge.a11yDescription.default": "Press Enter or Space to select, Delete to disconnect.",
}

const asConnection = (wanted: {
  source: string
  target: string
  sourceHandle?: string | null
  targetHandle?: string | null
}): Connection => ({
  source: wanted.source,
  sourcePort: wanted.sourceHandle ?? "",
  target: wanted.target,
  targetPort: wanted.targetHandle ?? "",
})

/** Nodes as React Flow moves them: the state's, and what a drag has not yet given to it. */
function useNodes(graph: Graph) {
  const positions = useStore((state) => state.positions)
  const direction = useStore((state) => state.direction)
  const selected = useStore((state) => state.selected)
  const [nodes, setNodes] = useState<CanvasNode[]>(() => nodesOf(graph, { positions, direction, selected }, []))
  const latest = useRef(nodes)
  useEffect(() => {
    latest.current = nodesOf(graph, { positions, direction, selected }, latest.current)
    setNodes(latest.current)
  }, [graph, positions, direction, selected])
  const onNodesChange = useCallback((changes: NodeChange<CanvasNode>[]) => {
    const changed = applyNodeChanges(
      changes.filter((change) => change.type !== "remove"),
      latest.current,
    )
    latest.current = changed
    setNodes(changed)
    if (changes.some((change) => change.type === "select")) {
      setState({ selected: changed.filter((node) => node.selected).map((node) => node.id) })
    }
    const ended = changes.flatMap((change) => (change.type === "position" && change.dragging !== true ? [change.id] : []))
    if (ended.length) movePlaces(placesOf(changed, new Set(ended)))
  }, [])
  return { nodes, onNodesChange }
}

function placesOf(nodes: CanvasNode[], ids: ReadonlySet<string>): Positions {
  return Object.fromEntries(
    nodes.flatMap((node) => (ids.has(node.id) ? [[node.id, [Math.round(node.position.x), Math.round(node.position.y)]]] : [])),
  )
}

function useWires(graph: Graph) {
  const selectedEdges = useStore((state) => state.selectedEdges)
  const positions = useStore((state) => state.positions)
  const direction = useStore((state) => state.direction)
  const routes = useMemo(() => routesOf(graph, positions, direction), [graph, positions, direction])
  const latest = useRef<WireType[]>([])
  const edges = useMemo(() => {
    latest.current = wiresOf(graph, { selectedEdges, direction }, routes, latest.current)
    return latest.current
  }, [graph, selectedEdges, routes, direction])
  const onEdgesChange = useCallback((changes: EdgeChange<WireType>[]) => {
    const chosen = new Set(getState().selectedEdges)
    for (const change of changes) {
      if (change.type === "select") chosen[change.selected ? "add" : "delete"](change.id)
    }
    setState({ selectedEdges: [...chosen] })
  }, [])
  return { edges, onEdgesChange }
}

const onConnectStart: OnConnectStart = (_, { nodeId, handleId, handleType }) => {
  const { graph } = getState()
  if (!graph || nodeId === null || handleType === null) return
  setState({ tip: null, reachable: reachableFrom(graph, nodeId, handleId ?? "", handleType) })
}

/** Why the connection that is being dragged cannot end where it is, or null. */
function refusal(from: Dragged | null, to: Dragged | null): string | null {
  const { graph } = getState()
  if (!graph || !from || !to || from.type === to.type)
    return from && to && from.type === to.type ? `connect an output with an input` : null
  const [source, target] = from.type === "source" ? [from, to] : [to, from]
  return whyNot(graph, { source: source.nodeId, sourcePort: source.id ?? "", target: target.nodeId, targetPort: target.id ?? "" })
}

interface Dragged {
  nodeId: string
  id?: string | null
  type: string
}

const onConnectEnd: OnConnectEnd = (_, { fromHandle, toHandle, isValid }) => {
  setState({ reachable: null })
  if (isValid) return
  const reason = refusal(fromHandle, toHandle)
  if (reason) say(`Not connected: ${reason}.`, true)
}

/** The reason, at the port that refuses, while an edge is dragged over it. */
function ConnectionHint() {
  const reason = useConnection((connection) =>
    connection.inProgress && connection.toHandle ? refusal(connection.fromHandle, connection.toHandle) : null,
  )
  const x = useConnection((connection) => (connection.inProgress ? connection.pointer.x : 0))
  const y = useConnection((connection) => (connection.inProgress ? connection.pointer.y : 0))
  if (!reason) return null
  return (
    <div className="hint" style={{ left: x + 14, top: y + 14 }}>
      {reason}
    </div>
  )
}

function useDrop() {
  const flow = useReactFlow()
  const onDragOver = (event: DragEvent) => {
    if (!event.dataTransfer.types.includes(COMPONENT)) return
    event.preventDefault()
    event.dataTransfer.dropEffect = "copy"
  }
  const onDrop = (event: DragEvent) => {
    const entry = getState().palette.find((one) => one.id === event.dataTransfer.getData(COMPONENT))
    if (!entry) return
    event.preventDefault()
    void add(entry, flow.screenToFlowPosition({ x: event.clientX, y: event.clientY }))
  }
  return { onDragOver, onDrop }
}

const openLook = () => setState({ look: getState().look ?? "outputs" })

/** The canvas of one pipeline; another pipeline gets another canvas. */
export function Canvas({ graph }: { graph: Graph }) {
  const { nodes, onNodesChange } = useNodes(graph)
  const { edges, onEdgesChange } = useWires(graph)
  const editable = useCanEdit()
  const far = useFlow((flow) => flow.transform[2] < FAR)
  const drop = useDrop()
  const [fit] = useState(graph.steps.length > 0) // an empty canvas must not move under the first step that is dropped on it
  const isValid = useCallback((wanted: Wanted | WireType) => {
    const now = getState().graph
    return now !== null && whyNot(now, asConnection(wanted)) === null
  }, [])
  return (
    <ReactFlow<CanvasNode, WireType>
      nodes={nodes}
      edges={edges}
      nodeTypes={nodeTypes}
      edgeTypes={edgeTypes}
      onNodesChange={onNodesChange}
      onEdgesChange={onEdgesChange}
      onConnect={(wanted) => void connect(asConnection(wanted))}
      onConnectStart={onConnectStart}
      onConnectEnd={onConnectEnd}
      isValidConnection={isValid}
      onNodeDoubleClick={openLook}
      {...drop}
      colorMode="system"
      nodesConnectable={editable}
      connectionRadius={26}
      selectionMode={SelectionMode.Partial}
      deleteKeyCode={null}
      multiSelectionKeyCode={MULTI}
      zoomOnDoubleClick={false}
      minZoom={0.1}
      maxZoom={2}
      fitView={fit}
      fitViewOptions={{ maxZoom: 1, padding: 0.08 }}
      onlyRenderVisibleElements={graph.steps.length > MANY}
      className={far ? "far" : ""}
      ariaLabelConfig={HEARD}
      aria-label={`Canvas of ${graph.path}`}
    >
      <Background variant={BackgroundVariant.Dots} gap={20} size={1} />
      <Controls showInteractive={false} fitViewOptions={{ maxZoom: 1, padding: 0.08 }} />
      <Map />
      <ConnectionHint />
    </ReactFlow>
  )
}

/** A small map of it all, while not all of it is in sight. */
function Map() {
  const hidden = useFlow((flow) => {
    const [x, y, zoom] = flow.transform
    return flow.nodes.every(({ position, width = 0, height = 0 }) => {
      const [left, top] = [position.x * zoom + x, position.y * zoom + y]
      return (
        left > -SLACK && top > -SLACK && left + width * zoom < flow.width + SLACK && top + height * zoom < flow.height + SLACK
      )
    })
  })
  const phases = useStore((state) =>
    Object.values(state.run?.steps ?? {})
      .map((step) => step.phase)
      .join(),
  )
  // another function whenever a phase changes: React Flow draws the map's nodes again for nothing less
  const classOf = useMemo(() => (node: CanvasNode) => miniClass(node), [phases])
  if (hidden) return null
  return <MiniMap<CanvasNode> style={MAP} pannable zoomable nodeClassName={classOf} ariaLabel="Map of the whole pipeline" />
}

const SLACK = 12
const MAP = { width: 132, height: 100 }

const miniClass = (node: CanvasNode): string =>
  node.type === "step" ? `phase-${getState().run?.steps[node.data.step.name]?.phase ?? "idle"}` : "mini-end"
