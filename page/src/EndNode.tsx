import type { Node, NodeProps } from "@xyflow/react"
import { memo } from "react"
import { kindClass, PortHandle } from "./PortHandle"
import { inputId, outputId, WHOLE } from "./ports"
import { labelId } from "./StepNode"
import { useCanEdit, type Direction } from "./state"

export type EndNodeType = Node<
  { name: string; type: string; kind: string; side: "input" | "output"; value: string | null; direction: Direction },
  "end"
>

/** A data input or an output of the pipeline, at the edge of the canvas. */
export const EndNode = memo(function EndNode({ data, selected }: NodeProps<EndNodeType>) {
  const { name, type, kind, side, value, direction } = data
  const connectable = useCanEdit()
  const id = side === "input" ? inputId(name) : outputId(name)
  const what = side === "input" ? "pipeline input" : "pipeline output"
  return (
    <div className={`end ${side}${selected ? " selected" : ""}`}>
      <span id={labelId(id)} className="only-heard">
        {`${what} ${name}`}
      </span>
      <PortHandle
        node={id}
        port={{ name, type, kind, description: side === "input" ? (value ?? "") : "" }}
        id={WHOLE}
        side={side === "input" ? "out" : "in"}
        direction={direction}
        connectable={connectable}
      />
      <span className={`end-dot ${kindClass(kind)}`} aria-hidden="true" />
      <span className="end-words">
        <bdi className="end-name cut" title={name}>
          {name}
        </bdi>
        <bdi className="quiet cut" title={value ?? what}>
          {value ?? what}
        </bdi>
      </span>
    </div>
  )
})
