import { BaseEdge, EdgeLabelRenderer, getBezierPath, type Edge, type EdgeProps } from "@xyflow/react"
import { memo, useState } from "react"
import { kindClass } from "./PortHandle"
import { pathThrough, type Point } from "./routes"
import type { Direction } from "./state"

export type WireType = Edge<{ label: string; kind: string; route: Point[] | null; direction: Direction }, "wire">

/** An edge; what it carries shows under the pointer, and while it is selected. */
export const Wire = memo(function Wire(props: EdgeProps<WireType>) {
  const [hovered, setHovered] = useState(false)
  const [straight, middleX, middleY] = getBezierPath(props)
  const { route = null, direction = "down", label, kind = "" } = props.data ?? {}
  const path = route
    ? pathThrough([[props.sourceX, props.sourceY], ...route, [props.targetX, props.targetY]], direction)
    : straight
  const [x, y] = route?.[Math.floor(route.length / 2)] ?? [middleX, middleY]
  return (
    <g className={kindClass(kind)} onMouseEnter={() => setHovered(true)} onMouseLeave={() => setHovered(false)}>
      <BaseEdge path={path} interactionWidth={18} />
      {(hovered || props.selected) && (
        <EdgeLabelRenderer>
          <bdi className="wire-label cut" style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}>
            {label}
          </bdi>
        </EdgeLabelRenderer>
      )}
    </g>
  )
})
