// Small parts that many pages are made of.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';

import type { Id } from '../protocol/objects';
import { Icon, type IconName } from './icons';
import { hue, initials } from './model';
import { dismiss, notices, said } from './notices';

export function Avatar({ id, name, status, isSpeaking = false, size = 32 }: { id: Id; name: string; status?: string | undefined; isSpeaking?: boolean; size?: number }): JSX.Element {
  const style = { '--hue': String(hue(id)), '--size': `${size}px` };
  return (
    <span class={`avatar${isSpeaking ? ' is-speaking' : ''}`} style={style} data-initials={initials(name)} aria-hidden="true">
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
  /** For what keyboards reach in another way. */
  isSkipped?: boolean;
}

export function IconButton({ icon, label, onClick, isPressed, kind = '', size = 20, isSkipped = false }: IconButtonProps): JSX.Element {
  return (
    <button type="button" class={`icon-button ${kind}`} title={label} aria-label={label} aria-pressed={isPressed} tabIndex={isSkipped ? -1 : undefined} onClick={onClick}>
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
  // Not after painting: a dialog that has left the page already gives no focus back when it is closed.
  useLayoutEffect(() => {
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

/** A text field as high as what is in it, and no higher than its style allows. */
export function useFit(text: string) {
  const ref = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const field = ref.current;
    if (field === null) return;
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
  }, [text]);
  return ref;
}

export function Notices(): JSX.Element {
  return (
    <>
      <div class="unseen" role="log" aria-live="polite">{said.value.map(({ id, text }) => <p key={id}>{text}</p>)}</div>
      <div class="notices" role="region" aria-label="Messages" aria-live="assertive">
        {notices.value.map(({ id, kind, text }) => (
          <div key={id} class={`notice is-${kind}`}>
            <span>{text}</span>
            <IconButton icon="close" label="Dismiss" size={16} onClick={() => dismiss(id)} />
          </div>
        ))}
      </div>
    </>
  );
}

/** Arrow keys, Home and End move the focus among a list's items. */
export function roving(event: KeyboardEvent, selector: string): void {
  const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  const step = steps[event.key];
  if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  // Where something is written, these keys move the cursor; and a slider has ends of its own.
  if (event.target instanceof HTMLTextAreaElement) return;
  if (event.target instanceof HTMLInputElement && !Number.isFinite(step)) return;
  const list = event.currentTarget as HTMLElement;
  const items = [...list.querySelectorAll<HTMLElement>(selector)];
  if (items.length === 0) return;
  const at = items.indexOf(document.activeElement as HTMLElement);
  const next = Math.min(items.length - 1, Math.max(0, at + step));
  event.preventDefault();
  items[next]?.focus();
}

/**
 * A list that is one stop for Tab, however long it is: the item that had the focus last, or else `preferred`, or the first.
 * Arrow keys move among the items.
 */
export function useRoving<E extends HTMLElement>(selector: string, preferred = '') {
  const ref = useRef<E>(null);
  const last = useRef<Element | null>(null);
  const settle = () => {
    const items = [...(ref.current?.querySelectorAll<HTMLElement>(selector) ?? [])];
    const wanted = items.find((item) => item === last.current) ?? items.find((item) => preferred !== '' && item.matches(preferred)) ?? items[0];
    for (const item of items) item.tabIndex = item === wanted ? 0 : -1;
  };
  useEffect(settle);
  return {
    ref,
    onKeyDown: (event: KeyboardEvent) => roving(event, selector),
    onFocusIn: (event: FocusEvent) => {
      const item = (event.target as Element).closest(selector);
      if (item === null || item === last.current) return;
      last.current = item;
      settle();
    },
  };
}
