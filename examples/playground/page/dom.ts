/** The element of index.html that has this id. */
export function element(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`index.html has no #${id}`)
  return found
}

/** A new element. */
export function make(tag: string, className = '', text = ''): HTMLElement {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text) made.textContent = text
  return made
}

/** A new button that does something. */
export function button(label: string, action: () => void): HTMLButtonElement {
  const made = document.createElement('button')
  made.type = 'button'
  made.textContent = label
  made.addEventListener('click', action)
  return made
}

/** Sets a text where it differs: what stays the same is not read out again, and a selection in it survives. */
export function say(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text
}

/** As a person says it. */
export function seconds(milliseconds: number): string {
  return `${Math.max(0, Math.round(milliseconds / 1000))} s`
}
