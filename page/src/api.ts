/** The server's requests, each as a function. */

import type { Edit, LogPart, Output, OutputImages, PaletteEntry, Pipelines, Positions, Submitted, Told } from "./types"

/** A refusal of the server: its sentence is made for people. */
export class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

export const NOT_ALLOWED = "This page may not talk to the designer. Open the address that the terminal printed."
export const NO_SERVER = "The designer does not answer. Is it still running in its terminal?"

async function refusalOf(answer: Response): Promise<Refusal> {
  if (answer.status === 401 || answer.status === 403) return new Refusal(answer.status, NOT_ALLOWED)
  try {
    const said: unknown = await answer.json()
    if (said && typeof said === "object" && "error" in said && typeof said.error === "string") {
      return new Refusal(answer.status, said.error)
    }
  } catch {
    // no JSON: the status has to do
  }
  return new Refusal(answer.status, `The designer answered ${answer.status} to ${new URL(answer.url).pathname}.`)
}

async function ask<T>(path: string, init: RequestInit): Promise<T> {
  let answer: Response
  try {
    answer = await fetch(path, { credentials: "same-origin", ...init })
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error
    throw new Refusal(0, NO_SERVER)
  }
  if (!answer.ok) throw await refusalOf(answer)
  return (await answer.json()) as T
}

const get = <T>(path: string, signal?: AbortSignal) => ask<T>(path, signal ? { signal } : {})

const post = <T>(path: string, body: object) =>
  ask<T>(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })

const part = encodeURIComponent

export const STREAM = "/api/stream"
export const palette = () => get<PaletteEntry[]>("/api/palette")
export const pipelines = () => get<Pipelines>("/api/pipelines")
export const open = (path: string, discard: boolean) => post<Told>("/api/open", { path, discard })
export const edit = (revision: number, edits: Edit[]) => post<Told>("/api/edit", { revision, edits })
export const undo = () => post<Told>("/api/undo", {})
export const redo = () => post<Told>("/api/redo", {})
export const save = (overwrite: boolean) => post<Told>("/api/save", { overwrite })
export const reload = () => post<Told>("/api/reload", {})
export const positions = (all: Positions) => post<object>("/api/positions", { positions: all })
export const run = () => post<object>("/api/run", {})
export const stop = () => post<object>("/api/stop", {})
export const submit = () => post<Submitted>("/api/submit", {})

const outputPath = (step: string, port: string) => `/api/outputs/${part(step)}/${part(port)}`

export const output = (step: string, port: string, signal: AbortSignal) => get<Output>(outputPath(step, port), signal)
export const images = (step: string, port: string, label: string, start: number, count: number, signal: AbortSignal) =>
  get<OutputImages>(`${outputPath(step, port)}/images?label=${part(label)}&start=${start}&count=${count}`, signal)
export const thumbnailAddress = (step: string, port: string, row: number) =>
  `${outputPath(step, port)}/thumbnails/${row}?side=128`
export const reportAddress = (step: string, port: string) =>
  port === "" ? `/api/sweeps/${part(step)}` : `${outputPath(step, port)}/report`
export const logs = (step: string, signal: AbortSignal) => get<{ names: string[] }>(`/api/logs/${part(step)}`, signal)
export const log = (step: string, name: string, from: number, signal: AbortSignal) =>
  get<LogPart>(`/api/logs/${part(step)}/${name.split("/").map(part).join("/")}?from=${from}`, signal)
