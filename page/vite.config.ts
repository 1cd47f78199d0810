import { defineConfig } from "vite"

/**
 * Built into the package, where the server reads it. Everything is a file of its own (no inline script, no preload helper): the server's
 * Content-Security-Policy allows nothing else.
 */
export default defineConfig({
  base: "./",
  publicDir: false,
  build: {
    outDir: "../src/designer_vision/designer/page",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 600,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" },
    rolldownOptions: {
      checks: { pluginTimings: false, bundlerTimings: false },
      onLog(level, log, report) {
        // "use client" is for servers that render React; there is none here
        if (log.code !== "MODULE_LEVEL_DIRECTIVE") report(level, log)
      },
    },
  },
})
