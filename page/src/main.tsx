import "@xyflow/react/dist/base.css"
import "./colours.css"
import "./palette.css"
import "./dialogs.css"
import "./page.css"
import "./canvas.css"
import "./pane.css"
import "./look.css"
import { createRoot } from "react-dom/client"
import { App } from "./App"
import { fetchPalette, follow } from "./server"

follow()
window.addEventListener("focus", () => void fetchPalette())
const root = document.getElementById("page")
if (root) createRoot(root).render(<App />)
