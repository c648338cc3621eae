// The comfywatchman button: state of the supervisor, restart, and switch to another environment.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const POLL_MILLISECONDS = 1000;
const FINAL_STATES = ["complete", "rolled_back", "failed", "aborted", "critical_failure"];

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await api.fetchApi(path, options);
  const content = await response.json();
  if (!response.ok) {
    const error = new Error(content.message ?? content.error ?? `HTTP ${response.status}`);
    error.kind = content.error;
    throw error;
  }
  return content;
}

// Sends an order that ends ComfyUI; a person decides whether prompts that run or wait may be lost.
async function order(path, body) {
  try {
    return await ask(path, body);
  } catch (error) {
    if (error.kind !== "queue_not_empty" || !confirm(`${error.message} Do it now all the same?`)) {
      throw error;
    }
    return ask(path, { ...body, force: true });
  }
}

function createElement(tag, text, properties = {}) {
  // textContent, not innerHTML: names and messages are data.
  return Object.assign(document.createElement(tag), { textContent: text, ...properties });
}

class PanelDialog {
  constructor() {
    this.dialog = createElement("dialog", "", { className: "comfywatchman" });
    Object.assign(this.dialog.style, { minWidth: "22rem", padding: "1rem", borderRadius: "8px" });
    this.message = createElement("p", "");
    this.message.setAttribute("role", "status");
    this.list = createElement("div", "");
    this.dialog.append(createElement("h3", "comfywatchman"), this.message, this.list);
    const row = createElement("p", "");
    row.append(
      createElement("button", "Restart ComfyUI", { onclick: () => this.restart() }),
      createElement("button", "Close", { onclick: () => this.dialog.close() }),
    );
    this.dialog.append(row);
    document.body.append(this.dialog);
  }

  async open() {
    this.dialog.showModal();
    await this.guard(async () => {
      const environments = await ask("/v2/comfygit/environments");
      const supervised = environments.is_supervised ? "supervised" : "started by hand";
      this.message.textContent = `Environment: ${environments.current ?? "none"} (${supervised})`;
      this.list.replaceChildren(...environments.environments.map((one) => this.createRow(one)));
    });
  }

  createRow(environment) {
    const row = createElement("p", `${environment.name} `);
    const label = environment.is_current ? "in use" : "Switch";
    const button = createElement("button", label, { disabled: environment.is_current });
    button.onclick = () => this.switchTo(environment.name);
    row.append(button);
    return row;
  }

  async restart() {
    if (confirm("Restart ComfyUI?")) {
      await this.guard(async () => {
        await order("/v2/comfygit/orchestrator/restart", {});
        this.message.textContent = "ComfyUI is restarting.";
      });
    }
  }

  async switchTo(name) {
    if (confirm(`Switch to ${name}? ComfyUI is restarted.`)) {
      await this.guard(async () => {
        await order("/v2/comfygit/switch_environment", { target_env: name });
        await this.follow();
      });
    }
  }

  async follow() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
      let status;
      try {
        status = await ask("/v2/comfygit/switch_status");
      } catch {
        // ComfyUI is being restarted.
        this.message.textContent = "Waiting for ComfyUI …";
        continue;
      }
      this.message.textContent = `${status.progress} % ${status.message}`;
      if (FINAL_STATES.includes(status.state)) {
        return;
      }
    }
  }

  async guard(action) {
    try {
      await action();
    } catch (error) {
      this.message.textContent = error.message;
    }
  }
}

let dialog;

function openDialog() {
  dialog ??= new PanelDialog();
  dialog.open();
}

function addButton() {
  const button = createElement("button", "comfywatchman", { onclick: openDialog, id: "comfywatchman-button" });
  button.title = "Supervisor: restart ComfyUI, switch the environment";
  const group = app.menu?.settingsGroup?.element ?? document.querySelector(".comfy-menu") ?? document.body;
  group.append(button);
}

app.registerExtension({
  name: "comfywatchman.panel",
  commands: [{ id: "comfywatchman.open", label: "comfywatchman", icon: "pi pi-heart", function: openDialog }],
  menuCommands: [{ path: ["Extensions"], commands: ["comfywatchman.open"] }],
  setup: addButton,
});
