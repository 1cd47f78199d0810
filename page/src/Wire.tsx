import { BaseEdge, EdgeLabelRenderer, getBezierPath, type Edge, type EdgeProps } from "@xyflow/react"
import { memo, useState } from "react"

export type WireType = Edge<{ label: string; kind: string }, "wire">

/** An edge; what it carries shows under the pointer, and while it is selected. */
export const Wire = memo(function Wire(props: EdgeProps<WireType>) {
  const [hovered, setHovered] = useState(false)
  const [path, x, y] = getBezierPath(props)
  return (
    <g onMouseEnter={() => setHovered(true)} onMouseLeave={() => setHovered(false)}>
      <BaseEdge path={path} interactionWidth={18} />
      {(hovered || props.selected) && (
        <EdgeLabelRenderer>
          <bdi className="wire-label cut" style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}>
            {props.data?.label}
          </bdi>
        </EdgeLabelRenderer>
      )}
    </g>
  )
})
