import { ReactFlowProvider, useReactFlow, useStore as useFlow } from "@xyflow/react"
import { Component, useEffect, useRef, type ReactNode } from "react"
import { messageOf } from "./api"
import { Bar } from "./Bar"
import { Canvas } from "./Canvas"
import { Dialogs } from "./dialogs"
import { useKeys } from "./keys"
import { Look } from "./Look"
import { Bands, Heard, Notices, Tooltip } from "./Notices"
import { Palette } from "./Palette"
import { Pane } from "./Pane"
import { useStore } from "./state"
import type { Graph } from "./types"

/** The whole page. */
export function App() {
  return (
    <Fallback>
      <ReactFlowProvider>
        <Page />
      </ReactFlowProvider>
    </Fallback>
  )
}

function Page() {
  const graph = useStore((state) => state.graph)
  const large = useStore((state) => state.lookLarge && state.look !== null && state.selected.length === 1)
  useKeys()
  useEffect(() => {
    document.title = graph ? `${graph.saved ? "" : "* "}${graph.name || graph.path} – Designer` : "Designer"
  }, [graph])
  return (
    <div className="page">
      <Bar graph={graph} />
      <Bands />
      <main className={large ? "work look-large" : "work"}>
        <Palette />
        <div className="middle">
          <Middle graph={graph} />
          {graph && !graph.error && <Look />}
        </div>
        {graph && !graph.error && <Pane graph={graph} />}
      </main>
      <Notices />
      <Heard />
      <Tooltip />
      <Dialogs />
    </div>
  )
}

function Middle({ graph }: { graph: Graph | null }) {
  if (!graph) return <p className="empty quiet">Reading the pipeline…</p>
  if (graph.error) {
    return (
      <div className="empty">
        <h2>This file is no pipeline that can be read</h2>
        <pre className="fault-box" dir="auto">
          {graph.error}
        </pre>
        <p className="quiet">Mend it in an editor, or open another one.</p>
      </div>
    )
  }
  return (
    <div className="canvas">
      <Canvas key={graph.path} graph={graph} />
      <Reveal />
      <FitAgain />
      {graph.steps.length === 0 && <p className="empty-hint">Drag a component here, or press Enter on one.</p>}
    </div>
  )
}

/** Brings the one selected node into sight, when it is chosen in a list or what lies below the canvas grows over it. */
function Reveal() {
  const flow = useReactFlow()
  const only = useStore((state) => (state.selected.length === 1 ? state.selected[0] : undefined))
  const look = useStore((state) => state.look !== null)
  const pane = useRef({ width: 0, height: 0 })
  const width = useFlow((now) => now.width)
  const height = useFlow((now) => now.height)
  useEffect(() => {
    pane.current = { width, height }
  }, [width, height])
  useEffect(() => {
    const soon = setTimeout(() => {
      const node = only === undefined ? undefined : flow.getNode(only)
      if (!node) return
      const { x, y, zoom } = flow.getViewport()
      const [middleX, middleY] = [node.position.x + (node.width ?? 0) / 2, node.position.y + (node.height ?? 0) / 2]
      const [left, top] = [middleX * zoom + x, middleY * zoom + y]
      const inSight = left > 0 && top > 0 && left < pane.current.width && top < pane.current.height - HALF_A_NODE * zoom
      if (!inSight) void flow.setCenter(middleX, middleY, { zoom, duration: calm() ? 0 : 150 })
    }, 80)
    return () => clearTimeout(soon)
  }, [only, look, flow])
  return null
}

const HALF_A_NODE = 60
const calm = (): boolean => window.matchMedia("(prefers-reduced-motion: reduce)").matches

/** Shows the whole pipeline again when it was laid out the other way. */
function FitAgain() {
  const flow = useReactFlow()
  const direction = useStore((state) => state.direction)
  const before = useRef(direction)
  useEffect(() => {
    if (before.current === direction) return
    before.current = direction
    const soon = setTimeout(() => void flow.fitView({ maxZoom: 1, padding: 0.08 }), 60)
    return () => clearTimeout(soon)
  }, [direction, flow])
  return null
}

/** A mistake of ours: said, with the way out, instead of an empty page. */
class Fallback extends Component<{ children: ReactNode }, { fault: string | null }> {
  override state = { fault: null as string | null }

  static getDerivedStateFromError(error: unknown) {
    return { fault: messageOf(error) }
  }

  override render() {
    if (this.state.fault === null) return this.props.children
    return (
      <div className="empty" role="alert">
        <h2>This page made a mistake</h2>
        <p className="fault-box">{this.state.fault}</p>
        <button type="button" onClick={() => window.location.reload()}>
          Show it anew
        </button>
        <p className="quiet">Nothing is lost: the designer holds the pipeline.</p>
      </div>
    )
  }
}
