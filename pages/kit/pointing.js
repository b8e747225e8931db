// A picture with its grid of patches, and a caption word by word: what is pointed at is sent to the page, which draws
// it. Nothing is kept here but where the keyboard stands; the page's own state says what is chosen.

const REST = 200; // ms without another arrow key until the patch or word under it is chosen
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let root = parentElement.querySelector(":scope > .cs-pointing");
  if (!root) {
    root = document.createElement("div");
    parentElement.appendChild(root);
  }
  const send = (places) => setTriggerValue("chosen", places);
  if (data.kind === "picture") picture(root, data, send);
  else words(root, data, send);
}

function stand(cells, at) {
  cells.forEach((cell, i) => (cell.tabIndex = i === at ? 0 : -1));
}

function later(root, act) {
  clearTimeout(root.waiting);
  root.waiting = setTimeout(act, REST);
}

function picture(root, data, send) {
  const [rows, columns] = data.grid;
  const shape = `${data.src.length} ${data.src.slice(-64)} ${rows} ${columns} ${data.area}`;
  if (root.shape !== shape) {
    clearTimeout(root.waiting);
    root.shape = shape;
    root.className = "cs-pointing cs-pointed" + (data.area ? " area" : "");
    const image = document.createElement("img");
    image.src = data.src;
    image.alt = data.alt;
    image.draggable = false;
    const heat = document.createElement("img");
    heat.className = "cs-heat";
    heat.alt = "";
    const grid = document.createElement("div");
    grid.className = "cs-patches";
    grid.setAttribute("role", "grid");
    grid.setAttribute("aria-multiselectable", String(data.area));
    grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    grid.style.gridTemplateRows = `repeat(${rows}, 1fr)`;
    for (let y = 0; y < rows; y++) {
      const row = document.createElement("div");
      row.setAttribute("role", "row");
      for (let x = 0; x < columns; x++) {
        const cell = document.createElement("span");
        cell.setAttribute("role", "gridcell");
        cell.setAttribute("aria-label", `${data.patch} ${y + 1}, ${x + 1}`);
        cell.dataset.patch = y * columns + x;
        row.appendChild(cell);
      }
      grid.appendChild(row);
    }
    root.replaceChildren(image, heat, grid);
    root.cells = [...grid.querySelectorAll("[role=gridcell]")];
    root.from = root.to = 0;
  }
  const cells = root.cells;
  const chosen = new Set(data.chosen);
  const mark = (places) => {
    cells.forEach((cell, i) => cell.setAttribute("aria-selected", String(places.has(i))));
    root.classList.toggle("any", places.size > 0);
  };
  mark(chosen);
  if (!root.contains(document.activeElement)) {
    if (chosen.size) [root.from, root.to] = [Math.min(...chosen), Math.max(...chosen)];
    stand(cells, root.to);
  }
  const heat = root.querySelector(".cs-heat");
  heat.hidden = !data.heat;
  if (data.heat && heat.src !== data.heat) heat.src = data.heat;
  const grid = root.querySelector(".cs-patches");
  grid.setAttribute("aria-label", data.label);

  const between = (a, b) => {
    const [ay, ax, by, bx] = [Math.floor(a / columns), a % columns, Math.floor(b / columns), b % columns];
    const found = new Set();
    for (let y = Math.min(ay, by); y <= Math.max(ay, by); y++)
      for (let x = Math.min(ax, bx); x <= Math.max(ax, bx); x++) found.add(y * columns + x);
    return found;
  };
  root.chosen = chosen;
  const choose = (places) => {
    clearTimeout(root.waiting);
    mark((root.chosen = places)); // at once: the page's answer comes a moment later
    send([...places]);
  };
  const under = (event) => {
    const frame = grid.getBoundingClientRect();
    const x = Math.floor(((event.clientX - frame.left) / frame.width) * columns);
    const y = Math.floor(((event.clientY - frame.top) / frame.height) * rows);
    return Math.min(rows - 1, Math.max(0, y)) * columns + Math.min(columns - 1, Math.max(0, x));
  };
  grid.onpointerdown = (event) => {
    if (event.button) return;
    root.from = root.to = under(event);
    if (data.area) {
      grid.setPointerCapture(event.pointerId);
      root.drawing = true;
      mark(between(root.from, root.to));
    }
  };
  grid.onpointermove = (event) => {
    if (!root.drawing) return;
    root.to = under(event);
    mark(between(root.from, root.to));
  };
  grid.onpointercancel = () => {
    root.drawing = false;
    mark(root.chosen);
  };
  grid.onpointerup = () => {
    if (!root.drawing) return;
    root.drawing = false;
    stand(cells, root.to);
    choose(between(root.from, root.to));
  };
  grid.onclick = (event) => {
    if (data.area) return;
    const at = (root.from = root.to = under(event));
    stand(cells, at);
    choose(root.chosen.size === 1 && root.chosen.has(at) ? new Set() : new Set([at]));
  };
  grid.onkeydown = (event) => {
    const step = STEPS[event.key];
    if (step) {
      const y = Math.min(rows - 1, Math.max(0, Math.floor(root.to / columns) + step[0]));
      const x = Math.min(columns - 1, Math.max(0, (root.to % columns) + step[1]));
      root.to = y * columns + x;
      if (!(data.area && event.shiftKey)) root.from = root.to;
      stand(cells, root.to);
      cells[root.to].focus();
      const places = between(root.from, root.to);
      later(root, () => choose(places));
    } else if (event.key === "Enter" || event.key === " ") choose(between(root.from, root.to));
    else if (event.key === "Escape") choose(new Set());
    else return;
    event.preventDefault();
  };
}

function words(root, data, send) {
  const shape = JSON.stringify(data.pieces.map((piece) => [piece.text, piece.joined]));
  if (root.shape !== shape) {
    clearTimeout(root.waiting);
    root.shape = shape;
    root.className = "cs-pointing cs-words";
    root.setAttribute("role", "group");
    root.replaceChildren();
    root.cells = [];
    for (const piece of data.pieces) {
      if (!piece.joined && root.cells.length) root.append(" ");
      const cell = document.createElement("span");
      cell.setAttribute("role", "button");
      cell.textContent = piece.text;
      root.appendChild(cell);
      root.cells.push(cell);
    }
    root.to = 0;
  }
  const cells = root.cells;
  root.dir = data.direction;
  root.lang = root.dataset.lang = data.lang;
  root.setAttribute("aria-label", data.label);
  const chosen = data.chosen.length ? data.chosen[0] : null;
  const mark = (at) =>
    cells.forEach((cell, i) => cell.setAttribute("aria-pressed", String(data.pieces[i].token === at)));
  data.pieces.forEach((piece, i) => {
    cells[i].className = piece.mark ? `cs-mark ${piece.mark}` : "";
    cells[i].style.cssText = piece.style;
    cells[i].title = piece.title;
  });
  mark((root.chosen = chosen));
  if (!root.contains(document.activeElement)) {
    const at = data.pieces.findIndex((piece) => piece.token === chosen);
    root.to = Math.max(0, at);
    stand(cells, root.to);
  }
  const choose = (i) => {
    clearTimeout(root.waiting);
    const at = i === null ? null : data.pieces[i].token;
    mark((root.chosen = at));
    send(at === null ? [] : [at]);
  };
  const forward = data.direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  root.onclick = (event) => {
    const i = cells.indexOf(event.target.closest("[role=button]"));
    if (i < 0) return;
    root.to = i;
    stand(cells, i);
    choose(data.pieces[i].token === root.chosen ? null : i);
  };
  root.onkeydown = (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const next = root.to + (event.key === forward ? 1 : -1);
      root.to = Math.min(cells.length - 1, Math.max(0, next));
      stand(cells, root.to);
      cells[root.to].focus();
      const at = root.to;
      later(root, () => choose(at));
    } else if (event.key === "Enter" || event.key === " ") choose(root.to);
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
  };
}
