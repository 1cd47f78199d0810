/** What the page and its server say to each other: the shapes of the server's JSON. */

/** "step:train" | "input:images" | "output:trained_model" */
export type NodeId = string

export interface PortOf {
  step: string
  port: string
}

/** A text, another step's output, an input of the pipeline, or what a sweep tries. */
export type Value = { text: string } | PortOf | { input: string } | { searched: string }

/** An input as a component declares it. */
export interface Declared {
  name: string
  type: string
  is_data: boolean
  kind: string
  optional: boolean
  default: string | null
  min: number | null
  max: number | null
  choices: string[] | null
  description: string
}

/** An input of a step. */
export interface Port extends Declared {
  value: Value | null
}

/** An output as a component declares it. */
export interface DeclaredOutput {
  name: string
  type: string
  kind: string
  description: string
}

/** An output of a step. */
export interface OutPort extends DeclaredOutput {
  /** The pipeline's output that it is given to. */
  output: string | null
}

export interface Setting {
  path: string
  label: string
  value: string | null
}

export interface Step {
  name: string
  component: string
  title: string
  description: string
  /** Why the component cannot be shown. */
  missing: string | null
  command: string
  inputs: Port[]
  outputs: OutPort[]
  settings: Setting[]
}

export interface PipelineInput {
  name: string
  type: string
  is_data: boolean
  value: string | null
  used_by: PortOf[]
}

export interface PipelineOutput {
  name: string
  type: string
  from: PortOf | null
}

export interface GraphEdge {
  id: string
  source: NodeId
  source_port: string
  target: NodeId
  target_port: string
}

export interface Problem {
  step: string
  port: string
  text: string
  source: "designer" | "azure"
}

export type Positions = Record<NodeId, [number, number]>

export interface Graph {
  path: string
  name: string
  exists: boolean
  revision: number
  saved: boolean
  can_undo: boolean
  can_redo: boolean
  changed_on_disk: boolean
  error: string | null
  inputs: PipelineInput[]
  outputs: PipelineOutput[]
  steps: Step[]
  edges: GraphEdge[]
  problems: Problem[]
  checking: boolean
  positions: Positions
}

export interface ToldComponent {
  id: string
  title: string
  description: string
  command: string
  inputs: Declared[]
  outputs: DeclaredOutput[]
}

export interface ToldStep {
  name: string
  /** Which of the components, or null where it cannot be shown. */
  component: number | null
  missing: string | null
  /** Ports that the component does not declare. */
  more_inputs: Declared[]
  more_outputs: DeclaredOutput[]
  values: Record<string, Value>
  settings: Record<string, string>
}

/** The graph as the server tells it: what its steps have in common once. */
export interface Told extends Omit<Graph, "steps"> {
  components: ToldComponent[]
  settings: { path: string; label: string }[]
  steps: ToldStep[]
}

export type StepPhase = "waiting" | "running" | "finished" | "reused" | "failed" | "stopped"

export interface Epoch {
  epoch: number
  train_loss: number | null
  valid_loss: number | null
  top1: number | null
}

export interface Trial {
  phase: "running" | "finished" | "stopped" | "failed"
  values: Record<string, string>
  value: number | null
  /** How many values it has reported. */
  reported: number
  seconds: number
  /** It failed, or was stopped. */
  why: string
}

export interface Sweep {
  metric: string
  best: number | null
  /** By number, from 1. */
  trials: Record<string, Trial>
}

export interface StepState {
  phase: StepPhase
  seconds: number
  share: number | null
  images_per_second: number | null
  loss: number | null
  top1: number | null
  left: string
  last_line: string
  warnings: string[]
  epochs: Epoch[]
  sweep: Sweep | null
}

export interface Run {
  phase: "none" | "starting" | "running" | "finished" | "failed" | "stopped"
  command: string
  error: string | null
  result: string | null
  remarks: string[]
  steps: Record<string, StepState>
  /** A sweep's own has no port. */
  reports: PortOf[]
}

export interface PaletteEntry {
  id: string
  name: string
  title: string
  description: string
  category: string
  inputs: Declared[]
  outputs: DeclaredOutput[]
}

export type Edit =
  | { do: "add"; component: string; name?: string }
  | { do: "remove"; steps: string[] }
  | { do: "duplicate"; steps: string[] }
  | { do: "rename"; step: string; to: string }
  | { do: "set"; step: string; port: string; text: string | null }
  | { do: "connect"; step: string; port: string; from: PortOf | { input: string } }
  | { do: "disconnect"; step: string; port: string }
  | { do: "setting"; step: string; path: string; text: string | null }
  | { do: "add_input"; name: string; type: string; text: string | null }
  | { do: "set_input"; name: string; text: string | null }
  | { do: "rename_input"; name: string; to: string }
  | { do: "remove_input"; name: string }
  | { do: "add_output"; name: string; from: PortOf }
  | { do: "connect_output"; name: string; from: PortOf }
  | { do: "remove_output"; name: string }
  | { do: "describe"; text: string }

export interface Pipelines {
  current: string
  files: string[]
}

export interface Output {
  exists: boolean
  title: string
  lines: string[]
  report: boolean
  images: { total: number; labels: { label: string; count: number }[] } | null
}

export interface OutputImage {
  row: number
  name: string
  label: string
}

export interface OutputImages {
  total: number
  images: OutputImage[]
}

export interface LogPart {
  text: string
  next: number
}

export type Submitted = { url: string } | { line: string; why: string }
