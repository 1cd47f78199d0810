import { Handle, Position } from "@xyflow/react"
import { useEffect, useRef, type CSSProperties } from "react"
import { kindName } from "./ports"
import { getState, setState, useStore, type Direction } from "./state"

interface Shown {
  name: string
  type: string
  kind: string
  description: string
}

interface Props {
  node: string
  port: Shown
  id?: string
  side: "in" | "out"
  direction: Direction
  connectable: boolean
  /** What is wrong at this port. */
  problem?: string
  /** Where along its side; the middle where nothing is said. */
  style?: CSSProperties
}

/** The kind that a port's colour stands for; those that this page does not know are grey. */
const COLOURED = new Set(["images", "model", "transformation", "scores", "results", "onnx"])
export const kindClass = (kind: string): string => `kind-${COLOURED.has(kind) ? kind : "any"}`

const positionOf = (side: "in" | "out", direction: Direction): Position =>
  direction === "down" ? (side === "in" ? Position.Top : Position.Bottom) : side === "in" ? Position.Left : Position.Right

/** A round port; its name, kind and description show where the pointer rests. */
export function PortHandle({ node, port, id = port.name, side, direction, connectable, problem, style }: Props) {
  const reach = useStore((state) =>
    state.reachable === null ? "" : state.reachable.has(`${node} ${id}`) ? " can-reach" : " cannot-reach",
  )
  const isTold = useRef(false)
  const tellNoMore = () => {
    if (isTold.current) setState({ tip: null })
    isTold.current = false
  }
  useEffect(() => tellNoMore, []) // a port that goes sees no pointer leave
  const tell = (target: Element) => {
    if (getState().reachable !== null) return // an edge is being dragged: its own hint says why not
    isTold.current = true
    const box = target.getBoundingClientRect()
    const lines = [
      `${side === "in" ? "takes" : "gives"} ${kindName(port.kind)} (${port.type})`,
      ...(port.description ? [port.description] : []),
    ]
    setState({ tip: { x: box.x + box.width / 2, y: box.bottom, title: port.name, lines: problem ? [problem, ...lines] : lines } })
  }
  return (
    <Handle
      id={id}
      type={side === "in" ? "target" : "source"}
      position={positionOf(side, direction)}
      isConnectable={connectable}
      className={`port ${kindClass(port.kind)}${problem ? " has-problem" : ""}${reach}`}
      style={style}
      onMouseEnter={(event) => tell(event.currentTarget)}
      onMouseLeave={tellNoMore}
    />
  )
}
