// Menus at the pointer or at the item they belong to.

import { signal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';

import { roving } from './parts';

interface Open {
  label: string;
  x: number;
  y: number;
  content: () => ComponentChildren;
  from: Element | null;
}

const open = signal<Open | null>(null);

export function showMenu(event: MouseEvent | KeyboardEvent, label: string, content: () => ComponentChildren): void {
  event.preventDefault();
  event.stopPropagation();
  const target = event.currentTarget as Element;
  const box = target.getBoundingClientRect();
  // Keyboards click and call menus without a place.
  const isPointed = event instanceof MouseEvent && (event.clientX !== 0 || event.clientY !== 0) && event.detail !== 0;
  const isContext = event.type === 'contextmenu' && event instanceof MouseEvent && event.clientX !== 0;
  const at = isPointed || isContext ? { x: (event as MouseEvent).clientX, y: (event as MouseEvent).clientY } : { x: box.left + 16, y: box.bottom };
  open.value = { label, ...at, content, from: document.activeElement };
}

export function closeMenu(): void {
  const from = open.value?.from;
  open.value = null;
  if (from instanceof HTMLElement) from.focus();
}

const LONG_PRESS_MS = 500;

/** How far a finger that rests may slide. */
const REST_PX = 10;

/** The one press that may become a long one. It outlives the element's next rendering. */
let press: { timer: ReturnType<typeof setTimeout>; x: number; y: number } | null = null;

function endPress(): void {
  if (press !== null) clearTimeout(press.timer);
  press = null;
}

/** The finger that opened a menu presses nothing else when it is lifted. */
function swallowClick(): void {
  const stopping = new AbortController();
  const swallow = (event: Event) => {
    event.preventDefault();
    event.stopPropagation();
    stopping.abort();
  };
  addEventListener('click', swallow, { capture: true, signal: stopping.signal });
  addEventListener('pointerdown', () => stopping.abort(), { capture: true, signal: stopping.signal });
}

/** What makes an element answer to a right click, the menu key, and a long press. */
export function menuProps(label: string, content: () => ComponentChildren) {
  return {
    onContextMenu: (event: MouseEvent) => {
      endPress();
      showMenu(event, label, content);
    },
    onPointerDown: (event: PointerEvent) => {
      if (event.pointerType !== 'touch') return;
      event.stopPropagation();
      endPress();
      const { clientX: x, clientY: y } = event;
      const timer = setTimeout(() => {
        press = null;
        swallowClick();
        open.value = { label, x, y, content, from: document.activeElement };
      }, LONG_PRESS_MS);
      press = { timer, x, y };
    },
    onPointerUp: endPress,
    onPointerMove: (event: PointerEvent) => {
      if (press !== null && Math.hypot(event.clientX - press.x, event.clientY - press.y) > REST_PX) endPress();
    },
    onPointerCancel: endPress,
  };
}

export function MenuItem({ children, onClick, kind = '' }: { children: ComponentChildren; onClick: () => void; kind?: string }): JSX.Element {
  return (
    <button
      type="button"
      role="menuitem"
      class={`menu-item ${kind}`}
      onClick={() => {
        closeMenu();
        onClick();
      }}
    >
      {children}
    </button>
  );
}

export function MenuHost(): JSX.Element | null {
  const ref = useRef<HTMLDivElement>(null);
  const menu = open.value;
  useLayoutEffect(() => {
    const element = ref.current;
    if (element === null || menu === null) return;
    // Inside the window, whatever was clicked.
    const { width, height } = element.getBoundingClientRect();
    element.style.left = `${Math.max(8, Math.min(menu.x, innerWidth - width - 8))}px`;
    element.style.top = `${Math.max(8, Math.min(menu.y, innerHeight - height - 8))}px`;
    (element.querySelector<HTMLElement>('[role=menuitem], input') ?? element).focus();
  }, [menu]);
  useEffect(() => {
    if (menu === null) return;
    const outside = (event: PointerEvent) => {
      if (!ref.current?.contains(event.target as Node)) open.value = null;
    };
    addEventListener('pointerdown', outside, true);
    return () => removeEventListener('pointerdown', outside, true);
  }, [menu]);
  if (menu === null) return null;
  return (
    <div
      ref={ref}
      class="menu"
      role="menu"
      tabIndex={-1}
      aria-label={menu.label}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={(event) => {
        if (event.key === 'Escape' || event.key === 'Tab') {
          event.preventDefault();
          event.stopPropagation();
          closeMenu();
        }
        roving(event, '[role=menuitem], input');
      }}
    >
      {menu.content()}
    </div>
  );
}
