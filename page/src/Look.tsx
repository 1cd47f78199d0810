import { CurvesTab } from "./CurvesTab"
import { LogTab } from "./LogTab"
import { OutputsTab } from "./OutputsTab"
import * as api from "./api"
import { selectedStep, setState, useStore, type LookTab } from "./state"
import { Tabs, useChosen } from "./Tabs"
import { TrialsTab } from "./TrialsTab"
import type { PortOf, Step } from "./types"

const NAMES: [LookTab, string][] = [
  ["outputs", "Outputs"],
  ["log", "Log"],
  ["curves", "Curves"],
  ["trials", "Trials"],
  ["report", "Report"],
  ["command", "Command"],
]

/** Below the canvas: what the selected step made, its log, its curves, its report, its command. */
export function Look() {
  const step = useStore(selectedStep)
  const look = useStore((state) => state.look)
  const large = useStore((state) => state.lookLarge)
  const hasReport = useStore((state) => state.run?.reports.some((report) => report.step === step?.name) ?? false)
  const hasCurves = useStore((state) => (step ? (state.run?.steps[step.name]?.epochs.length ?? 0) > 0 : false))
  const hasTrials = useStore((state) => (step ? Boolean(state.run?.steps[step.name]?.sweep) : false))
  if (!step) return <p className="look quiet nothing-chosen">Select a step to see its outputs, log and command.</p>
  const has: Partial<Record<LookTab, boolean>> = { report: hasReport, curves: hasCurves, trials: hasTrials }
  const tabs = NAMES.filter(([tab]) => has[tab] ?? true)
  const shown = tabs.some(([tab]) => tab === look) ? look : look && "outputs"
  const after = (
    <span className="tab-buttons">
      {shown && (
        <button type="button" className="small" onClick={() => setState({ lookLarge: !large })}>
          {large ? "smaller" : "larger"}
        </button>
      )}
      {shown && (
        <button type="button" className="small" onClick={() => setState({ look: null, lookLarge: false })}>
          close
        </button>
      )}
    </span>
  )
  return (
    <section className={`look${shown ? " open" : ""}${shown && large ? " large" : ""}`} aria-label={`What ${step.name} made`}>
      <Tabs
        label={`What ${step.name} made`}
        tabs={tabs}
        chosen={shown}
        onChoose={(tab) => setState({ look: tab })}
        after={after}
      />
      {shown && (
        <div className="look-body" role="tabpanel" aria-label={shown} key={`${step.name} ${shown}`}>
          <Shown tab={shown} step={step} />
        </div>
      )}
    </section>
  )
}

function Shown({ tab, step }: { tab: LookTab; step: Step }) {
  switch (tab) {
    case "outputs":
      return <OutputsTab step={step} />
    case "log":
      return <LogTab step={step.name} />
    case "curves":
      return <CurvesTab step={step.name} />
    case "trials":
      return <TrialsTab step={step.name} />
    case "report":
      return <ReportTab step={step.name} />
    case "command":
      return (
        <pre className="command whole" tabIndex={0} aria-label="command of the step">
          {step.command || "This step has no command."}
        </pre>
      )
  }
}

const NO_REPORTS: PortOf[] = []

/** The report, in a frame that may run nothing; where there are several, one after another. */
function ReportTab({ step }: { step: string }) {
  const all = useStore((state) => state.run?.reports ?? NO_REPORTS)
  const ports = all.filter((report) => report.step === step).map((report) => report.port)
  const [port, setPort] = useChosen(ports)
  if (port === undefined) return <p className="quiet padded">There is no report yet.</p>
  return (
    <div className="report-tab">
      {ports.length > 1 && (
        <Tabs
          label="Reports"
          tabs={ports.map((one): [string, string] => [one, one || "sweep"])}
          chosen={port}
          onChoose={setPort}
        />
      )}
      <iframe className="report" sandbox="" title={`Report of ${step}`} src={api.reportAddress(step, port)} key={port} />
    </div>
  )
}
