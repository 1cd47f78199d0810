import type { Node, NodeProps } from "@xyflow/react"
import { memo } from "react"
import { once } from "./once"
import { PortHandle } from "./PortHandle"
import { stepId } from "./ports"
import { useCanEdit, useStore, type Direction } from "./state"
import type { Graph, OutPort, Port, Step, StepState } from "./types"
import { duration, measures, percent, plural, spoken, SYMBOLS, withLeft } from "./words"

export type StepNodeType = Node<{ step: Step; direction: Direction }, "step">

/** By step: its problems as one text, the same while they are the same, "port<tab>text" by line. */
const problemsByStep = once((graph: Graph) => {
  const found = new Map<string, string>()
  for (const { step, port, text } of graph.problems) {
    const others = found.get(step)
    found.set(step, `${others === undefined ? "" : `${others}\n`}${port}\t${text}`)
  }
  return found
})

/** Without blanks, which would make several ids of it for whoever refers to it. */
export const labelId = (id: string): string => `label-${id.replace(/\s/g, "\u00a0")}`

/** A step: its title and name, its state while it runs, its data ports along its edges. */
export const StepNode = memo(function StepNode({ data: { step, direction }, selected }: NodeProps<StepNodeType>) {
  const state = useStore((now) => now.run?.steps[step.name])
  const problems = useStore((now) => (now.graph ? (problemsByStep(now.graph).get(step.name) ?? "") : ""))
  const lines = problems ? problems.split("\n") : []
  const phase = state?.phase ?? "idle"
  return (
    <div className={`step ${direction} phase-${phase}${selected ? " selected" : ""}${step.missing ? " missing" : ""}`}>
      <span id={labelId(stepId(step.name))} className="only-heard">
        {spoken(step.name, state, lines.length)}
      </span>
      <Ports side="in" step={step} direction={direction} problems={lines} />
      <div className="step-head">
        <bdi className="step-title cut" title={step.title}>
          {step.title || step.name}
        </bdi>
        {step.title !== step.name && (
          <bdi className="step-name cut" title={step.name}>
            {step.name}
          </bdi>
        )}
      </div>
      <Status state={state} problems={lines.length} missing={step.missing} />
      <Ports side="out" step={step} direction={direction} problems={lines} />
    </div>
  )
})

function Status({ state, problems, missing }: { state: StepState | undefined; problems: number; missing: string | null }) {
  const marks = [
    ...(problems ? [{ tone: "fault", text: plural(problems, "problem") }] : []),
    ...(state?.warnings.length ? [{ tone: "warning", text: plural(state.warnings.length, "warning") }] : []),
  ]
  return (
    <div className="step-status">
      <div className="status-line">
        {state ? <Phase state={state} /> : <span className="quiet cut">{missing ?? ""}</span>}
        <span className="marks">
          {marks.map((mark) => (
            <span key={mark.tone} className={mark.tone}>
              {mark.text}
            </span>
          ))}
        </span>
      </div>
      {state?.phase === "running" && <Bar share={state.share} />}
      <div className="status-line numbers cut">
        {state && <span className="cut">{measures(state).join(" · ")}</span>}
        {state?.phase === "running" && state.left && <span className="left">{withLeft(state.left)}</span>}
      </div>
    </div>
  )
}

function Phase({ state }: { state: StepState }) {
  const { phase, share, seconds } = state
  const part = phase === "running" && share !== null ? ` ${percent(share)}` : ""
  const time = seconds > 0 && phase !== "waiting" && phase !== "reused" ? duration(seconds) : ""
  return (
    <span className="phase">
      <span aria-hidden="true" className="phase-symbol">
        {SYMBOLS[phase]}
      </span>
      <span className="phase-word">
        {phase}
        {part}
      </span>
      <span className="quiet">{time}</span>
    </span>
  )
}

function Bar({ share }: { share: number | null }) {
  return (
    <div className={share === null ? "bar unknown" : "bar"} aria-hidden="true">
      <div style={share === null ? {} : { width: `${Math.min(100, 100 * share)}%` }} />
    </div>
  )
}

const TAIL = 3

/** A name that is cut before its end: names often differ in their last letters only. */
const PortName = ({ name }: { name: string }) => (
  <bdi className="port-name">
    <span className="cut">{name.slice(0, -TAIL)}</span>
    <span>{name.slice(-TAIL)}</span>
  </bdi>
)

interface PortsProps {
  side: "in" | "out"
  step: Step
  direction: Direction
  problems: string[]
}

/** The data ports of one side, each with its name; downwards they share the width, to the right they stand below one another. */
function Ports({ side, step, direction, problems }: PortsProps) {
  const connectable = useCanEdit()
  const ports: (Port | OutPort)[] = side === "in" ? step.inputs.filter((port) => port.is_data) : step.outputs
  const at = (index: number): string => `${(100 * (index + 0.5)) / ports.length}%`
  return (
    <div className={`ports ${side}`}>
      {ports.map((port, index) => {
        const problem =
          side === "in" ? problems.find((line) => line.startsWith(`${port.name}\t`))?.slice(port.name.length + 1) : undefined
        const place = direction === "down" ? { left: at(index) } : { top: "50%" }
        return (
          <div className="port-cell" key={port.name}>
            <PortHandle
              node={stepId(step.name)}
              port={port}
              side={side}
              direction={direction}
              connectable={connectable}
              {...(problem ? { problem } : {})}
              style={place}
            />
            <PortName name={port.name} />
          </div>
        )
      })}
    </div>
  )
}
