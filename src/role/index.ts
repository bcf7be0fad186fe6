/** Who is active: what the operator said, kept on disk with its term. */
export { readBootId, roleStore, StateError } from './store.ts';
