import { useStore } from "./state"
import { duration, shortNumber } from "./words"

/** The trials of a sweep, as they come; the best by now stands out. */
export function TrialsTab({ step }: { step: string }) {
  const sweep = useStore((state) => state.run?.steps[step]?.sweep ?? null)
  if (!sweep) return <p className="quiet padded">No trial has begun yet.</p>
  const trials = Object.entries(sweep.trials)
  const parameters = Object.keys(trials[0]?.[1].values ?? {})
  return (
    <div className="trials numbers-table" tabIndex={0} role="region" aria-label="trials of the sweep">
      <table>
        <thead>
          <tr>
            {["trial", ...parameters, sweep.metric, "reported", "time"].map((name) => (
              <th key={name} scope="col">
                <bdi>{name}</bdi>
              </th>
            ))}
            <th scope="col" className="words">
              state
            </th>
          </tr>
        </thead>
        <tbody>
          {trials.map(([number, trial]) => (
            <tr key={number} className={Number(number) === sweep.best ? "best" : ""}>
              <th scope="row">{number}</th>
              {parameters.map((name) => (
                <td key={name}>
                  <bdi>{shortNumber(trial.values[name] ?? "")}</bdi>
                </td>
              ))}
              <td>{trial.value === null ? "–" : shortNumber(String(trial.value))}</td>
              <td>{trial.reported}</td>
              <td>{trial.phase === "running" ? "" : duration(trial.seconds)}</td>
              <td className="words" dir="auto">
                {[trial.phase, trial.why].filter(Boolean).join(": ")}
                {Number(number) === sweep.best && <strong> the best</strong>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
