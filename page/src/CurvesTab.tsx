import { useStore } from "./state"
import type { Epoch } from "./types"
import { figure, percent } from "./words"

const WIDTH = 360
const HEIGHT = 190
const EDGE = { left: 46, right: 12, top: 26, bottom: 32 }

interface Line {
  name: string
  className: string
  points: [number, number][]
}

const NONE: Epoch[] = []

/** Loss and top-1 by epoch, as they grow; the same numbers as a table below. */
export function CurvesTab({ step }: { step: string }) {
  const epochs = useStore((state) => state.run?.steps[step]?.epochs ?? NONE)
  if (epochs.length === 0) return <p className="quiet padded">No epoch has ended yet.</p>
  return (
    <div className="curves">
      <Chart
        title="loss"
        lines={[
          { name: "training", className: "line-train", points: pointsOf(epochs, (epoch) => epoch.train_loss) },
          { name: "validation", className: "line-valid", points: pointsOf(epochs, (epoch) => epoch.valid_loss) },
        ]}
        words={figure}
      />
      <Chart
        title="top-1"
        lines={[{ name: "validation", className: "line-valid", points: pointsOf(epochs, (epoch) => epoch.top1) }]}
        words={(share) => percent(share, 0)}
      />
      <EpochTable epochs={epochs} />
    </div>
  )
}

const pointsOf = (epochs: Epoch[], of: (epoch: Epoch) => number | null): [number, number][] =>
  epochs.flatMap((epoch) => {
    const value = of(epoch)
    return value === null || !Number.isFinite(value) ? [] : [[epoch.epoch, value] as [number, number]]
  })

/** Round numbers from below `low` to above `high`, about `wanted` of them. */
function ticks(low: number, high: number, wanted = 4): number[] {
  const span = high - low || Math.abs(high) || 1
  const raw = span / wanted
  const magnitude = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((one) => one >= raw) ?? raw
  const first = Math.floor(low / step)
  const last = Math.max(first + 1, Math.ceil(high / step))
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step)
}

/** Whole epochs along the axis, ten at most. */
function epochTicks(first: number, last: number): number[] {
  const step = Math.max(1, Math.ceil((last - first) / 9))
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, index) => first + index * step)
}

function Chart({ title, lines, words }: { title: string; lines: Line[]; words: (value: number) => string }) {
  const all = lines.flatMap((line) => line.points)
  if (all.length === 0) return null
  const values = all.map(([, value]) => value)
  const epochs = all.map(([epoch]) => epoch)
  const [first, last] = [Math.min(...epochs), Math.max(...epochs)]
  const marks = ticks(Math.min(...values), Math.max(...values))
  const [low = 0, high = 1] = [marks[0], marks.at(-1)]
  const x = (epoch: number): number =>
    EDGE.left + ((WIDTH - EDGE.left - EDGE.right) * (epoch - first)) / Math.max(1, last - first)
  const y = (value: number): number => HEIGHT - EDGE.bottom - ((HEIGHT - EDGE.top - EDGE.bottom) * (value - low)) / (high - low)
  return (
    <svg
      className="chart"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`${title} by epoch; its numbers are in the table`}
    >
      <text x={EDGE.left} y={14} className="chart-title">
        {title}
      </text>
      {lines.length > 1 &&
        lines.map((line, index) => (
          <text
            key={line.name}
            x={WIDTH - EDGE.right - 76 * (lines.length - 1 - index)}
            y={14}
            textAnchor="end"
            className={`key ${line.className}`}
          >
            {`— ${line.name}`}
          </text>
        ))}
      {marks.map((mark) => (
        <g key={mark}>
          <line x1={EDGE.left} x2={WIDTH - EDGE.right} y1={y(mark)} y2={y(mark)} className="grid-line" />
          <text x={EDGE.left - 6} y={y(mark) + 4} textAnchor="end">
            {words(mark)}
          </text>
        </g>
      ))}
      {epochTicks(first, last).map((epoch) => (
        <text key={epoch} x={x(epoch)} y={HEIGHT - EDGE.bottom + 14} textAnchor="middle">
          {epoch}
        </text>
      ))}
      <text x={(WIDTH + EDGE.left) / 2} y={HEIGHT - 4} textAnchor="middle">
        epoch
      </text>
      {lines.map((line) => (
        <g key={line.name} className={line.className}>
          <polyline points={line.points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ")} />
          {line.points.length <= 40 &&
            line.points.map(([epoch, value]) => <circle key={epoch} cx={x(epoch)} cy={y(value)} r={2.5} />)}
        </g>
      ))}
    </svg>
  )
}

function EpochTable({ epochs }: { epochs: Epoch[] }) {
  const shown = (value: number | null, words: (value: number) => string) => (value === null ? "–" : words(value))
  return (
    <div className="epoch-table numbers-table" tabIndex={0} role="region" aria-label="numbers by epoch">
      <table>
        <thead>
          <tr>
            <th scope="col">epoch</th>
            <th scope="col">training loss</th>
            <th scope="col">validation loss</th>
            <th scope="col">top-1</th>
          </tr>
        </thead>
        <tbody>
          {epochs.map((epoch) => (
            <tr key={epoch.epoch}>
              <th scope="row">{epoch.epoch}</th>
              <td>{shown(epoch.train_loss, figure)}</td>
              <td>{shown(epoch.valid_loss, figure)}</td>
              <td>{shown(epoch.top1, (share) => percent(share, 1))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
