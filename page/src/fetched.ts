import { useEffect, useState } from "react"

export interface Fetched<T> {
  value: T | null
  fault: string | null
}

/** What a request answers; asked again when `key` changes, given up when it is no longer wanted. */
export function useFetched<T>(key: string, request: (signal: AbortSignal) => Promise<T>): Fetched<T> {
  const [found, setFound] = useState<Fetched<T>>({ value: null, fault: null })
  useEffect(() => {
    const stopped = new AbortController()
    request(stopped.signal).then(
      (value) => setFound({ value, fault: null }),
      (error: unknown) => {
        if (!stopped.signal.aborted) setFound({ value: null, fault: error instanceof Error ? error.message : String(error) })
      },
    )
    return () => stopped.abort()
    // the request is another function at every drawing; the key says whether it asks for something else
  }, [key])
  return found
}
