// A field whose text the page is told while it is typed, once the hand rests.

const REST = 250; // ms

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let field = parentElement.querySelector("input");
  if (!field) {
    const frame = document.createElement("label");
    frame.className = "cs-typed";
    frame.append(document.createElement("span"));
    field = document.createElement("input");
    field.type = "search";
    field.dir = "auto";
    field.autocomplete = "off";
    field.maxLength = data.longest;
    frame.append(field);
    parentElement.append(frame);
  }
  field.parentElement.firstChild.textContent = data.label;
  field.placeholder = data.placeholder;
  field.title = data.help;
  if (field !== document.activeElement || !field.pending) field.value = data.value;
  field.oninput = () => {
    field.pending = true;
    clearTimeout(field.waiting);
    field.waiting = setTimeout(() => {
      field.pending = false;
      setTriggerValue("typed", field.value);
    }, REST);
  };
}
