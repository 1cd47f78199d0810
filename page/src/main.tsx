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
import { follow } from "./server"

follow()
const root = document.getElementById("page")
if (root) createRoot(root).render(<App />)
