/** States and numbers in words. */

import type { StepPhase, StepState } from "./types"

export const SYMBOLS: Record<StepPhase, string> = {
  waiting: "○",
  running: "▶",
  reused: "↺",
  finished: "✓",
  failed: "✕",
  stopped: "■",
}

export function duration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${seconds < 10 ? seconds.toFixed(1) : whole} s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })

/** 50000 as 50,000. */
export const count = (number: number): string => grouped.format(number)

export const percent = (share: number, digits = 0): string => `${(100 * share).toFixed(digits)} %`

/** Three or four digits of a loss. */
export const figure = (number: number): string =>
  Math.abs(number) >= 0.001 || number === 0 ? number.toFixed(3) : number.toExponential(1)

/** A number of many digits as it can be read; any other text as it is. */
export const shortNumber = (text: string): string =>
  text.length > 8 && Number.isFinite(Number(text)) ? String(Number(Number(text).toPrecision(4))) : text

export const plural = (number: number, one: string, many = `${one}s`): string => `${count(number)} ${number === 1 ? one : many}`

/** "0:02:10" as "0:02:10 left". */
export const withLeft = (time: string): string => (time === "" || time.endsWith("left") ? time : `${time} left`)

/** What is measured while a step runs: images/s, loss, top-1. */
export function measures(state: StepState): string[] {
  const found: string[] = []
  if (state.images_per_second !== null && state.phase === "running") found.push(`${count(state.images_per_second)} images/s`)
  if (state.loss !== null) found.push(`loss ${figure(state.loss)}`)
  if (state.top1 !== null) found.push(`top-1 ${percent(state.top1, 1)}`)
  return found
}

/** A node for a screen reader: "step train, running, 40 percent". */
export function spoken(name: string, state: StepState | undefined, problems: number): string {
  const words = [`step ${name}`]
  if (state) {
    words.push(state.phase)
    if (state.phase === "running" && state.share !== null) words.push(`${Math.round(100 * state.share)} percent`)
    if (state.warnings.length) words.push(plural(state.warnings.length, "warning"))
  }
  if (problems) words.push(plural(problems, "problem"))
  return words.join(", ")
}
