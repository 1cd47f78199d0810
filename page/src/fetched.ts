import { useEffect, useState } from "react"
import { messageOf } from "./api"
import { useStore } from "./state"

interface Fetched<T> {
  value: T | null
  fault: string | null
}

/**
 * What a request answers; given up when it is no longer wanted.
 *
 * @param key asks again when it changes, as a connection does that comes back.
 * @param every asks again after so many milliseconds, too.
 */
export function useFetched<T>(key: string, request: (signal: AbortSignal) => Promise<T>, every?: number): Fetched<T> {
  const isOpen = useStore((state) => state.link === "open")
  const [found, setFound] = useState<Fetched<T>>({ value: null, fault: null })
  useEffect(() => {
    if (!isOpen) return
    const stopped = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const ask = async () => {
      try {
        const value = await request(stopped.signal)
        setFound({ value, fault: null })
      } catch (error) {
        if (stopped.signal.aborted) return
        setFound(({ value }) => ({ value, fault: messageOf(error) }))
      }
      if (every !== undefined) timer = setTimeout(() => void ask(), every)
    }
    void ask()
    return () => {
      stopped.abort()
      clearTimeout(timer)
    }
    // the request is another function at every drawing; the key says whether it asks for something else
  }, [key, isOpen, every])
  return found
}
