/** Who is active: what the operator said, kept on disk with its term. */
export { type RoleStore, readBootId, roleStore, StateError } from './store.ts';
