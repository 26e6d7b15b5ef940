// Asking before something is changed.
import { h } from './dom.js';

// ask shows a dialog with fields and calls act with their values when the operator agrees.
// A field is [name, label, input element]. What act throws is shown, and the dialog stays.
export function ask({ title, text, fields = [], agree, danger, act }) {
  const problem = h('p', { class: 'error', role: 'alert' });
  const go = h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, agree);
  const form = h('form', { method: 'dialog' },
    h('h2', { id: 'asked' }, title), text && h('div', {}, text),
    fields.map(([name, label, input]) => {
      input.name = name;
      return input.type === 'checkbox' ? h('label', { class: 'check' }, input, label) : h('label', {}, label, input);
    }),
    problem,
    h('div', { class: 'actions' }, h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), go));
  const dialog = h('dialog', { 'aria-labelledby': 'asked' }, form);
  form.addEventListener('submit', async (e) => {
    e.preventDefault();
    go.disabled = true;
    problem.textContent = '';
    try {
      await act(Object.fromEntries(fields.map(([name, , input]) => [name, input.type === 'checkbox' ? input.checked : input.value.trim()])));
      dialog.close();
    } catch (err) {
      problem.textContent = err.message;
    } finally {
      go.disabled = false;
    }
  });
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export const reason = (required) => ['reason', required ? 'Why, for those who ask later' : 'Why (it is kept with your name)', h('input', { required, maxlength: 500 })];

export function say(text) {
  const said = document.getElementById('said');
  said.textContent = '';
  requestAnimationFrame(() => { said.textContent = text; });
}
