import { memo, useEffect, useLayoutEffect, useRef, useState } from "react"
import * as api from "./api"
import type { OutputImage } from "./types"
import { count } from "./words"

interface Props {
  step: string
  port: string
  label: string
  total: number
}

const CELL = { width: 108, height: 128 }
const PAGE = 120 // images asked for at a time
const AHEAD = 2 // rows drawn beyond what is in sight
const SETTLED = 90 // ms without scrolling before anything is asked for
const KEPT_PAGES = 40

/** Images of an output in a grid that holds only what is in sight, however many there are. */
export function Thumbnails({ step, port, label, total }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const view = useView(box)
  const columns = Math.max(1, Math.floor(view.width / CELL.width))
  const rows = Math.ceil(total / columns)
  const first = Math.max(0, Math.floor(view.top / CELL.height) - AHEAD) * columns
  const last = Math.min(total, (Math.ceil((view.top + view.height) / CELL.height) + AHEAD) * columns)
  const { pages, fault } = usePages({ step, port, label, total }, first, last, view.settled)
  const cells = []
  for (let index = first; index < last; index++) {
    const image = pages.get(Math.floor(index / PAGE))?.[index % PAGE]
    const place = { left: (index % columns) * CELL.width, top: Math.floor(index / columns) * CELL.height }
    cells.push(
      <Cell key={index} step={step} port={port} image={image} index={index} total={total} load={view.settled} {...place} />,
    )
  }
  return (
    <div className="thumbnails" ref={box} tabIndex={0} role="region" aria-label={`${count(total)} images`}>
      {fault && <p className="fault-text">{fault}</p>}
      <div role="list" style={{ height: rows * CELL.height, position: "relative" }}>
        {cells}
      </div>
    </div>
  )
}

/** What of the box is in sight; `settled` while it is not being scrolled. */
function useView(box: React.RefObject<HTMLDivElement | null>) {
  const [view, setView] = useState({ top: 0, width: 0, height: 0, settled: true })
  useLayoutEffect(() => {
    const element = box.current
    if (!element) return
    let timer: ReturnType<typeof setTimeout> | undefined
    const look = (settled: boolean) =>
      setView({ top: element.scrollTop, width: element.clientWidth, height: element.clientHeight, settled })
    const scrolled = () => {
      look(false)
      clearTimeout(timer)
      timer = setTimeout(() => look(true), SETTLED)
    }
    const sized = new ResizeObserver(() => look(true))
    sized.observe(element)
    element.addEventListener("scroll", scrolled, { passive: true })
    return () => {
      clearTimeout(timer)
      sized.disconnect()
      element.removeEventListener("scroll", scrolled)
    }
  }, [box])
  return view
}

/** Names of the images in sight, by pages; pages that are no longer in sight are not waited for. */
function usePages({ step, port, label, total }: Props, first: number, last: number, settled: boolean) {
  const [pages, setPages] = useState<ReadonlyMap<number, OutputImage[]>>(new Map())
  const [fault, setFault] = useState<string | null>(null)
  const from = Math.floor(first / PAGE)
  const to = Math.floor(Math.max(first, last - 1) / PAGE)
  useEffect(() => {
    if (!settled || total === 0 || last <= first) return
    const stopped = new AbortController()
    for (let page = from; page <= to; page++) {
      if (pages.has(page)) continue
      api.images(step, port, label, page * PAGE, PAGE, stopped.signal).then(
        (answer) => {
          setPages((now) => new Map([...now, [page, answer.images] as const].slice(-KEPT_PAGES)))
          setFault(null)
        },
        (error: unknown) => {
          if (!stopped.signal.aborted) setFault(api.messageOf(error))
        },
      )
    }
    return () => stopped.abort()
    // `pages` is left out: a page that comes must not ask for the others again
  }, [step, port, label, total, from, to, settled, last > first])
  return { pages, fault }
}

interface CellProps {
  step: string
  port: string
  image: OutputImage | undefined
  index: number
  total: number
  load: boolean
  left: number
  top: number
}

const Cell = memo(function Cell({ step, port, image, index, total, load, left, top }: CellProps) {
  const row = image?.row
  return (
    <div className="thumbnail" role="listitem" aria-setsize={total} aria-posinset={index + 1} style={{ left, top }}>
      {row === undefined ? (
        <span className="blank" />
      ) : (
        <Picture key={row} address={api.thumbnailAddress(step, port, row)} name={image?.name ?? ""} load={load} />
      )}
      <div className="caption cut" title={image ? `${image.name}\n${image.label}` : ""}>
        <bdi>{image?.label ?? ""}</bdi>
      </div>
    </div>
  )
})

/** An image that is asked for only when scrolling has ended, and given up when it leaves. */
function Picture({ address, name, load }: { address: string; name: string; load: boolean }) {
  const image = useRef<HTMLImageElement>(null)
  const [wanted, setWanted] = useState(load)
  if (load && !wanted) setWanted(true)
  useEffect(() => {
    const element = image.current
    return () => element?.removeAttribute("src")
  }, [])
  return <img ref={image} {...(wanted ? { src: address } : {})} alt={name} title={name} width={96} height={96} decoding="async" />
}
