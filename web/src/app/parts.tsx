// Small parts that many pages are made of.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

import type { Id } from '../protocol/objects';
import { Icon, type IconName } from './icons';
import { hue, initials } from './model';
import { dismiss, notices } from './notices';

export function Avatar({ id, name, status, isSpeaking = false, size = 32 }: { id: Id; name: string; status?: string | undefined; isSpeaking?: boolean; size?: number }): JSX.Element {
  const style = { '--hue': String(hue(id)), '--size': `${size}px` };
  return (
    <span class={`avatar${isSpeaking ? ' is-speaking' : ''}`} style={style} aria-hidden="true">
      {initials(name)}
      {status !== undefined && <span class={`status is-${status}`} />}
    </span>
  );
}

export interface IconButtonProps {
  icon: IconName;
  label: string;
  onClick: (event: MouseEvent) => void;
  isPressed?: boolean;
  kind?: string;
  size?: number;
}

export function IconButton({ icon, label, onClick, isPressed, kind = '', size = 20 }: IconButtonProps): JSX.Element {
  return (
    <button type="button" class={`icon-button ${kind}`} title={label} aria-label={label} aria-pressed={isPressed} onClick={onClick}>
      <Icon name={icon} size={size} />
    </button>
  );
}

export interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  kind?: string;
}

/** A dialog over everything. The browser keeps the focus inside, closes it by Escape, and gives the focus back. */
export function Dialog({ title, onClose, children, kind = '' }: DialogProps): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      class={`dialog ${kind}`}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onPointerDown={(event) => event.target === ref.current && onClose()}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2>{title}</h2>
          <IconButton icon="close" label="Close" onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

export interface FieldProps {
  label: string;
  error?: string | undefined;
  hint?: string;
  children: (attributes: { id: string; 'aria-invalid': boolean; 'aria-describedby': string }) => ComponentChildren;
}

let fields = 0;

export function Field({ label, error, hint, children }: FieldProps): JSX.Element {
  const id = useRef('');
  if (id.current === '') id.current = `field-${++fields}`;
  const note = `${id.current}-note`;
  return (
    <div class="field">
      <label for={id.current}>{label}</label>
      {children({ id: id.current, 'aria-invalid': error !== undefined, 'aria-describedby': note })}
      <p id={note} class={error === undefined ? 'hint' : 'field-error'}>
        {error ?? hint}
      </p>
    </div>
  );
}

export function Notices(): JSX.Element {
  return (
    <div class="notices" role="region" aria-label="Messages" aria-live="assertive">
      {notices.value.map(({ id, kind, text }) => (
        <div key={id} class={`notice is-${kind}`}>
          <span>{text}</span>
          <IconButton icon="close" label="Dismiss" size={16} onClick={() => dismiss(id)} />
        </div>
      ))}
    </div>
  );
}

/** Arrow keys, Home and End move the focus among a list's items; Tab leaves it. */
export function roving(event: KeyboardEvent, selector: string): void {
  const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  const step = steps[event.key];
  if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  const list = event.currentTarget as HTMLElement;
  const items = [...list.querySelectorAll<HTMLElement>(selector)];
  if (items.length === 0) return;
  const at = items.indexOf(document.activeElement as HTMLElement);
  const next = Math.min(items.length - 1, Math.max(0, at + step));
  event.preventDefault();
  items[next]?.focus();
}
